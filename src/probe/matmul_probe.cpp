// SPDX-License-Identifier: MIT
#include "probe/matmul_probe.h"

#include <algorithm>
#include <random>
#include <span>

#include "backend/extra_buffers.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "os/memory.h"

namespace spillway {
namespace {

constexpr int64_t kPatternRows = 16;
constexpr int kMatricesPerStep = 2;  // products that share an input
constexpr int64_t kPassedOn = 256;   // values of a product that the next input depends on
constexpr uint64_t kMatrixBytesMin = 512 * KiB, kMatrixBytesMax = 32 * MiB;
// A pass as plans choose it, and enough for the processor; devices want more.
constexpr int64_t kBatchTokens = 128, kDeviceBatchTokens = 512;
// A product with fewer rows goes through its blocks a third slower (222 for 311 GFLOP/s with 512 rows of q4_K).
constexpr int64_t kBatchRows[] = {64, 512, 4096}, kExpertBatchRows[] = {64, 512, 1024};
constexpr size_t kRoundsMax = 200;

// A backend that computes this fast has more work given to it: a shorter run measures how it is started.
constexpr double kTooSlow_s = 0.1;

// One write to a tensor. Below 10 MiB, from where on ggml's RPC backend asks the other side whether it has these bytes
// already instead of sending them.
constexpr uint64_t kUploadBytes = 8 * MiB;

std::vector<float> random_values(size_t n) {
  std::mt19937 random(1);
  std::normal_distribution<float> weight(0, 0.02f);
  std::vector<float> values(n);
  for (float& value : values) value = weight(random);
  return values;
}

// Repeats `pattern` over the whole tensor.
void fill_at_once(ggml_tensor* tensor, const std::vector<std::byte>& pattern) {
  std::vector<std::byte> all(ggml_nbytes(tensor));
  for (size_t at = 0; at < all.size(); at += pattern.size())
    std::copy_n(pattern.begin(), std::min(pattern.size(), all.size() - at),
                all.begin() + static_cast<std::ptrdiff_t>(at));
  ggml_backend_tensor_set(tensor, all.data(), 0, all.size());
}

// The same in pieces.
void fill(ggml_tensor* tensor, const std::vector<std::byte>& pattern) {
  const uint64_t total = ggml_nbytes(tensor);
  const uint64_t repeats = std::max<uint64_t>(1, std::min(kUploadBytes, total) / pattern.size());
  std::vector<std::byte> piece;
  piece.reserve(repeats * pattern.size());
  for (uint64_t i = 0; i < repeats; ++i) piece.insert(piece.end(), pattern.begin(), pattern.end());
  for (uint64_t at = 0; at < total; at += piece.size())
    ggml_backend_tensor_set(tensor, piece.data(), at, std::min<uint64_t>(piece.size(), total - at));
}

// What is repacked while it is written has to come whole.
void fill_matrix(ggml_tensor* matrix, const WeightPattern& weights) {
  weights.repacked() ? fill_at_once(matrix, weights.bytes()) : fill(matrix, weights.bytes());
}

}  // namespace

ggml_type weight_type_by_name(const std::string& name) {
  for (int t = 0; t < GGML_TYPE_COUNT; ++t) {
    const auto type = static_cast<ggml_type>(t);
    const ggml_type_traits& traits = *ggml_get_type_traits(type);
    const bool is_weight = type == GGML_TYPE_F32 || traits.to_float != nullptr;
    if (is_weight && traits.type_name != nullptr && name == traits.type_name) return type;
  }
  return GGML_TYPE_COUNT;
}

BackendPtr open_cpu_backend(unsigned n_threads) {
  BackendPtr backend(ggml_backend_init_by_type(GGML_BACKEND_DEVICE_TYPE_CPU, nullptr));
  if (backend == nullptr) return nullptr;
  ggml_backend_reg_t registry = ggml_backend_dev_backend_reg(ggml_backend_get_device(backend.get()));
  if (auto* set_threads = reinterpret_cast<ggml_backend_set_n_threads_t>(
          ggml_backend_reg_get_proc_address(registry, "ggml_backend_set_n_threads")))
    set_threads(backend.get(), static_cast<int>(n_threads));
  return backend;
}

WeightPattern::WeightPattern(ggml_type type, bool repacked)
    : type_(type), repacked_(repacked), bytes_(static_cast<size_t>(kPatternRows) * row_bytes()) {
  // Types of two bits and less are quantized with statistics of a model's use, which random values do not have.
  const ggml_from_float_t quantize = ggml_get_type_traits(type)->from_float_ref;
  if (quantize == nullptr) return;
  const std::vector<float> values = random_values(static_cast<size_t>(kPatternRows * kColumns));
  quantize(values.data(), bytes_.data(), static_cast<int64_t>(values.size()));
}

void MatmulProbe::start(ggml_backend_t backend, size_t n_tensors, size_t n_matrices) {
  const auto context_for = [](size_t bytes) {
    return ContextPtr(ggml_init({.mem_size = bytes, .mem_buffer = nullptr, .no_alloc = true}));
  };
  backend_ = backend;
  const size_t n_nodes = n_tensors + n_matrices;
  context_ = context_for(ggml_tensor_overhead() * (n_tensors + 1) + ggml_graph_overhead_custom(n_nodes, false));
  weights_context_ = context_for(ggml_tensor_overhead() * (n_matrices + 1));
  graph_ = ggml_new_graph_custom(context_.get(), n_nodes, false);
}

// Whether the backend does the last product, and has room for all.
bool MatmulProbe::allocate(bool repacked) {
  if (!ggml_backend_supports_op(backend_, last_)) return false;
  ggml_backend_buffer_type_t type = repacked ? extra_buffer_type(ggml_backend_get_device(backend_), last_) : nullptr;
  if (type == nullptr) type = ggml_backend_get_default_buffer_type(backend_);
  weights_buffer_.reset(ggml_backend_alloc_ctx_tensors_from_buft(weights_context_.get(), type));
  buffer_.reset(ggml_backend_alloc_ctx_tensors(context_.get(), backend_));
  if (weights_buffer_ == nullptr || buffer_ == nullptr) return false;
  // A resident model's weights lie in those: with 4 KiB pages products are a tenth slower.
  if (ggml_backend_buffer_is_host(weights_buffer_.get()))
    prefer_huge_pages(ggml_backend_buffer_get_base(weights_buffer_.get()),
                      ggml_backend_buffer_get_size(weights_buffer_.get()));
  return true;
}

std::optional<MatmulProbe> MatmulProbe::build(ggml_backend_t backend, const WeightPattern& weights, int n_matrices,
                                              int64_t rows, int64_t n_tokens) {
  MatmulProbe probe;
  probe.start(backend, 5 * static_cast<size_t>(n_matrices) + 2, static_cast<size_t>(n_matrices));
  ggml_context* context = probe.context_.get();
  ggml_tensor* input = ggml_new_tensor_2d(context, GGML_TYPE_F32, WeightPattern::kColumns, n_tokens);
  ggml_tensor* scale = ggml_new_tensor_1d(context, GGML_TYPE_F32, WeightPattern::kColumns);
  std::vector<ggml_tensor*> matrices;
  ggml_tensor* step = input;
  for (int m = 0; m < n_matrices; ++m) {
    if (m % kMatricesPerStep == 0) {
      // As in a model: the next input is a norm of a sum with the last result, small operations that wait for it.
      if (m > 0) step = ggml_add(context, step, ggml_view_1d(context, probe.last_, std::min(rows, kPassedOn), 0));
      step = ggml_mul(context, ggml_rms_norm(context, step, 1e-5f), scale);
    }
    matrices.push_back(ggml_new_tensor_2d(probe.weights_context_.get(), weights.type(), WeightPattern::kColumns, rows));
    probe.last_ = ggml_mul_mat(context, matrices.back(), step);
    ggml_build_forward_expand(probe.graph_, probe.last_);
    probe.weight_bytes_ += static_cast<double>(ggml_nbytes(matrices.back()));
    probe.flops_ += 2.0 * static_cast<double>(WeightPattern::kColumns * rows * n_tokens);
  }
  if (!probe.allocate(weights.repacked())) return std::nullopt;
  for (ggml_tensor* matrix : matrices) fill_matrix(matrix, weights);
  const std::vector<float> values = random_values(WeightPattern::kColumns);
  const auto* begin = reinterpret_cast<const std::byte*>(values.data());
  fill(input, {begin, begin + values.size() * sizeof(float)});
  fill(scale, {begin, begin + values.size() * sizeof(float)});
  return probe;
}

std::optional<MatmulProbe> MatmulProbe::build_experts(ggml_backend_t backend, const WeightPattern& weights,
                                                      int64_t rows, int64_t n_tokens) {
  MatmulProbe probe;
  probe.start(backend, 3, 1);
  ggml_context* context = probe.context_.get();
  ggml_tensor* matrices =
      ggml_new_tensor_3d(probe.weights_context_.get(), weights.type(), WeightPattern::kColumns, rows, kExperts);
  ggml_tensor* input = ggml_new_tensor_3d(context, GGML_TYPE_F32, WeightPattern::kColumns, 1, n_tokens);
  ggml_tensor* chosen = ggml_new_tensor_2d(context, GGML_TYPE_I32, kExpertsUsed, n_tokens);
  probe.last_ = ggml_mul_mat_id(context, matrices, input, chosen);
  ggml_build_forward_expand(probe.graph_, probe.last_);
  probe.weight_bytes_ = static_cast<double>(ggml_nbytes(matrices));
  probe.flops_ = 2.0 * static_cast<double>(WeightPattern::kColumns * rows * kExpertsUsed * n_tokens);
  if (!probe.allocate(weights.repacked())) return std::nullopt;
  fill_matrix(matrices, weights);
  const std::vector<float> values = random_values(WeightPattern::kColumns);
  const auto* begin = reinterpret_cast<const std::byte*>(values.data());
  fill(input, {begin, begin + values.size() * sizeof(float)});
  // Every expert has as many tokens, and no two of a token are the same.
  std::vector<int32_t> ids;
  for (int64_t t = 0; t < n_tokens; ++t)
    for (int64_t u = 0; u < kExpertsUsed; ++u)
      ids.push_back(static_cast<int32_t>((t + u * kExperts / kExpertsUsed) % kExperts));
  ggml_backend_tensor_set(chosen, ids.data(), 0, ids.size() * sizeof ids[0]);
  return probe;
}

std::optional<double> MatmulProbe::run() {
  const Stopwatch watch;
  if (ggml_backend_graph_compute(backend_, graph_) != GGML_STATUS_SUCCESS) return std::nullopt;
  // Some backends come back before they are done, and the RPC one even from a synchronization: a result does not lie.
  float first = 0;
  ggml_backend_tensor_get(last_, &first, 0, sizeof first);
  return watch.elapsed_s();
}

std::optional<double> MatmulProbe::typical_seconds(double time_s) {
  const std::optional<double> first = run();  // may compile shaders, start threads, fault pages in
  if (!first) return std::nullopt;
  const Stopwatch watch;
  std::vector<double> rounds;
  // Where the first one took that long, a second one tells whether it was the warming up.
  const size_t rounds_min = *first > 10 * time_s ? 1 : 2;
  while (rounds.size() < kRoundsMax && (rounds.size() < rounds_min || watch.elapsed_s() < time_s)) {
    const std::optional<double> seconds = run();
    if (!seconds) return std::nullopt;
    rounds.push_back(*seconds);
  }
  const auto middle = rounds.begin() + static_cast<std::ptrdiff_t>((rounds.size() - 1) / 2);
  std::nth_element(rounds.begin(), middle, rounds.end());
  return *middle;
}

namespace {

std::optional<MatmulProbe> build_decode(ggml_backend_t backend, const WeightPattern& weights, uint64_t matrix_bytes,
                                        int n_matrices) {
  // A multiple of what is passed on to the next product.
  const auto rows = static_cast<int64_t>(round_up(matrix_bytes / weights.row_bytes(), kPassedOn));
  return MatmulProbe::build(backend, weights, n_matrices, rows, 1);
}

uint64_t matrix_bytes_of(const DecodeProbeOptions& options) {
  return std::clamp(options.matrix_bytes, kMatrixBytesMin, kMatrixBytesMax);
}

int n_matrices_of(const DecodeProbeOptions& options) {
  return static_cast<int>(std::max<uint64_t>(1, options.weights_bytes / matrix_bytes_of(options)));
}

}  // namespace

std::optional<MatmulProbe> build_decode_probe(ggml_backend_t backend, const WeightPattern& weights,
                                              const DecodeProbeOptions& options) {
  return build_decode(backend, weights, matrix_bytes_of(options), n_matrices_of(options));
}

double measure_decode(ggml_backend_t backend, const WeightPattern& weights, const DecodeProbeOptions& options) {
  const double time_s = options.time_s;
  double bytes_per_s = 0;
  for (const int n_matrices : {1, n_matrices_of(options)}) {
    auto probe = build_decode(backend, weights, matrix_bytes_of(options), n_matrices);
    const std::optional<double> seconds =
        probe ? probe->typical_seconds(n_matrices == 1 ? time_s / 4 : time_s) : std::nullopt;
    if (!seconds) break;
    bytes_per_s = probe->weight_bytes() / *seconds;
    if (*seconds > kTooSlow_s) break;
  }
  return bytes_per_s;
}

namespace {

int64_t batch_tokens(ggml_backend_t backend) {
  return ggml_backend_dev_type(ggml_backend_get_device(backend)) == GGML_BACKEND_DEVICE_TYPE_CPU ? kBatchTokens
                                                                                                 : kDeviceBatchTokens;
}

// Matrices grow to their full size where that takes no more than a moment.
template <class Build>
double measure_batch(double time_s, std::span<const int64_t> sizes, Build build) {
  double flops_per_s = 0;
  for (const int64_t rows : sizes) {
    auto probe = build(rows);
    const std::optional<double> once = probe ? probe->typical_seconds(0) : std::nullopt;
    if (!once) break;
    const bool last = *once > kTooSlow_s || rows == sizes.back();
    // What takes that long is no moment's figure, and a slow worker's seconds are counted (f16: 0.7 s a run).
    const bool again = last && *once <= kTooSlow_s;
    const std::optional<double> seconds = again ? probe->typical_seconds(time_s) : once;
    if (!seconds) break;
    flops_per_s = probe->flops() / *seconds;
    if (last) break;
  }
  return flops_per_s;
}

}  // namespace

double measure_prefill(ggml_backend_t backend, const WeightPattern& weights, double time_s) {
  const int64_t n_tokens = batch_tokens(backend);
  return measure_batch(time_s, kBatchRows,
                       [&](int64_t rows) { return MatmulProbe::build(backend, weights, 1, rows, n_tokens); });
}

double measure_expert_prefill(ggml_backend_t backend, const WeightPattern& weights, double time_s) {
  const int64_t n_tokens = batch_tokens(backend);
  return measure_batch(time_s, kExpertBatchRows,
                       [&](int64_t rows) { return MatmulProbe::build_experts(backend, weights, rows, n_tokens); });
}

}  // namespace spillway
