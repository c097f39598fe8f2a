// SPDX-License-Identifier: MIT
#include "plan/repacking.h"

#include <algorithm>
#include <string_view>

#include "plan/model_facts.h"

namespace spillway {
namespace {

struct TypicalRate {
  std::string_view type;
  double bytes_per_s;
};
// One core with AVX-512, of a server. q5_K, q6_K, q8_0 and floats have no form there.
constexpr TypicalRate kTypical[] = {{"q4_K", 2.4e9}, {"q4_0", 5e9}, {"iq4_nl", 5e9}, {"mxfp4", 5e9}, {"q2_K", 2.4e9}};

// 0: there is no form.
double bytes_per_s_of(std::string_view type, const std::vector<MatmulRate>& measured) {
  // A profile of before these were measured has none.
  const bool any =
      std::any_of(measured.begin(), measured.end(), [](const MatmulRate& rate) { return rate.repack_bytes_per_s > 0; });
  for (const MatmulRate& rate : measured)
    if (any && rate.type == type) return rate.repack_bytes_per_s;
  return typical_repack_bytes_per_s(type);
}

}  // namespace

double repack_s_per_byte(const GgufModel& model, const std::vector<MatmulRate>& measured) {
  double bytes = 0, seconds = 0;
  for (const TensorInfo& tensor : model.tensors) {
    if (tensor.unused || is_row_table(model, tensor)) continue;
    const auto tensor_bytes = static_cast<double>(tensor.range.bytes);
    bytes += tensor_bytes;
    if (const double bytes_per_s = bytes_per_s_of(tensor.type, measured); bytes_per_s > 0)
      seconds += tensor_bytes / bytes_per_s;
  }
  return bytes > 0 ? seconds / bytes : 0;
}

double typical_repack_bytes_per_s(std::string_view type) {
  for (const TypicalRate& rate : kTypical)
    if (rate.type == type) return rate.bytes_per_s;
  return 0;
}

unsigned repacking_threads(unsigned n_cores) { return std::max(n_cores / 2, 1u); }

}  // namespace spillway
