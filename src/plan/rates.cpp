// SPDX-License-Identifier: MIT
#include "plan/rates.h"

namespace spillway {
namespace {

// Products reach this share of the memory's bandwidth on the CPUs measured so far.
constexpr double kShareOfMemory = 0.7;
constexpr double kGuessBytes_per_s = 8e9;
// Operations for each byte that decoding gets through: what CPUs with vector units reach on batches.
constexpr double kFlopsPerDecodeByte = 12;
// Of a batch's rate where a router chooses the matrix for each token: the middle of eleven types (0.67 to 1.06).
constexpr double kExpertShare = 0.87;

}  // namespace

Rates::Rates(const std::vector<MatmulRate>& measured, double memory_bytes_per_s) : rates_(measured) {
  double decode_sum = 0, prefill_sum = 0;
  int n_decode = 0, n_prefill = 0;
  for (const MatmulRate& rate : rates_) {
    if (rate.decode_bytes_per_s > 0) decode_sum += rate.decode_bytes_per_s, ++n_decode;
    if (rate.prefill_flops_per_s > 0) prefill_sum += rate.prefill_flops_per_s, ++n_prefill;
  }
  known_ = n_decode > 0 || memory_bytes_per_s > 0;
  decode_mean_ = n_decode > 0             ? decode_sum / n_decode
                 : memory_bytes_per_s > 0 ? memory_bytes_per_s * kShareOfMemory
                                          : kGuessBytes_per_s;
  prefill_mean_ = n_prefill > 0 ? prefill_sum / n_prefill : decode_mean_ * kFlopsPerDecodeByte;
}

double Rates::decode_bytes_per_s(const std::string& type) const {
  for (const MatmulRate& rate : rates_)
    if (rate.type == type && rate.decode_bytes_per_s > 0) return rate.decode_bytes_per_s;
  return decode_mean_;
}

double Rates::prefill_flops_per_s(const std::string& type) const {
  for (const MatmulRate& rate : rates_)
    if (rate.type == type && rate.prefill_flops_per_s > 0) return rate.prefill_flops_per_s;
  return prefill_mean_;
}

double Rates::expert_prefill_flops_per_s(const std::string& type) const {
  for (const MatmulRate& rate : rates_)
    if (rate.type == type && rate.expert_prefill_flops_per_s > 0) return rate.expert_prefill_flops_per_s;
  return kExpertShare * prefill_flops_per_s(type);
}

}  // namespace spillway
