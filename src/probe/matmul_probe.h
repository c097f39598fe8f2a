// SPDX-License-Identifier: MIT
// Matrix products through ggml on one backend, timed: what `probe/compute_probe` and `probe/device_probe` are made
// of.
#pragma once

#include <ggml-backend.h>
#include <ggml.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backend/ggml_handles.h"

namespace spillway {

// ggml's type of that name ("q4_K") if weights can have it, else GGML_TYPE_COUNT. Of integers and of the types that
// activations are quantized to, ggml's CPU backend says that it multiplies them, and crashes.
ggml_type weight_type_by_name(const std::string& name);

// A CPU backend with that many threads; null when ggml has none.
BackendPtr open_cpu_backend(unsigned n_threads);

// Some rows of weights in one type, quantized from random values: all-zero weights may compute faster or, where scales
// become denormal, many times slower than real ones.
class WeightPattern {
 public:
  static constexpr int64_t kColumns = 4096;

  // `repacked`: multiplied with from the layout that the backend likes best, where it has one for the type.
  explicit WeightPattern(ggml_type type, bool repacked = false);
  ggml_type type() const { return type_; }
  bool repacked() const { return repacked_; }
  uint64_t row_bytes() const { return ggml_row_size(type_, kColumns); }
  const std::vector<std::byte>& bytes() const { return bytes_; }  // whole rows

 private:
  const ggml_type type_;
  const bool repacked_;
  std::vector<std::byte> bytes_;
};

// `n_matrices` matrices of `rows` rows, each to be multiplied with `n_tokens` columns in one graph. Every other one
// waits for a sum, a norm and a product of vectors, as in a model: without these the same weights go through a third
// faster (33 against 25 GB/s on two threads), since no thread ever waits for another.
class MatmulProbe {
 public:
  // nullopt when the backend does not do this type or has no memory for it.
  static std::optional<MatmulProbe> build(ggml_backend_t backend, const WeightPattern& weights, int n_matrices,
                                          int64_t rows, int64_t n_tokens);
  // kExperts matrices of `rows` rows, of which a router chooses kExpertsUsed for each of `n_tokens` columns.
  static std::optional<MatmulProbe> build_experts(ggml_backend_t backend, const WeightPattern& weights, int64_t rows,
                                                  int64_t n_tokens);
  static constexpr int64_t kExperts = 8, kExpertsUsed = 2;

  // Seconds of one computation, result in reach of the host; nullopt when it failed.
  std::optional<double> run();

  // The median of those within about `time_s` after one to warm up, at least one. The best would be what the machine
  // reaches when nobody disturbs it, which is not what a run meets.
  std::optional<double> typical_seconds(double time_s);

  double weight_bytes() const { return weight_bytes_; }
  double flops() const { return flops_; }

 private:
  MatmulProbe() = default;
  void start(ggml_backend_t backend, size_t n_tensors, size_t n_matrices);
  bool allocate(bool repacked);
  ggml_backend_t backend_ = nullptr;
  ContextPtr context_, weights_context_;  // of all other tensors, of the matrices
  BufferPtr buffer_, weights_buffer_;
  ggml_cgraph* graph_ = nullptr;
  ggml_tensor* last_ = nullptr;
  double weight_bytes_ = 0, flops_ = 0;
};

// A matrix of an 8B model's layers, or an expert of a large model's.
inline constexpr uint64_t kMatrixBytesTypical = 8ull << 20;

struct DecodeProbeOptions {
  uint64_t weights_bytes = 0;                   // of all matrices: more than caches hold
  uint64_t matrix_bytes = kMatrixBytesTypical;  // of one; 0.5 to 32 MiB are told apart: starting a product costs time
  double time_s = 0;
};

// All of `options`' weights, each to be multiplied with one vector. nullopt as MatmulProbe::build().
std::optional<MatmulProbe> build_decode_probe(ggml_backend_t backend, const WeightPattern& weights,
                                              const DecodeProbeOptions& options);

// Matrix times vector, in bytes of weights per second; 0 when the backend can not. A device on which even a small
// product takes long is measured with that.
double measure_decode(ggml_backend_t backend, const WeightPattern& weights, const DecodeProbeOptions& options);

// Matrix times a batch of tokens, 128 on the CPU and 512 elsewhere, in floating point operations per second; 0 when the
// backend can not.
double measure_prefill(ggml_backend_t backend, const WeightPattern& weights, double time_s);

// The same where a router chooses among experts for each token: other kernels.
double measure_expert_prefill(ggml_backend_t backend, const WeightPattern& weights, double time_s);

}  // namespace spillway
