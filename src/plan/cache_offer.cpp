// SPDX-License-Identifier: MIT
#include "plan/cache_offer.h"

#include <fmt/format.h>

#include <algorithm>

#include "plan/model_need.h"

namespace spillway {
namespace {

// The mildest: half of f16, and hardly to be told from it.
constexpr const char* kOfferedType = "q8_0";

// Below both, nobody would change anything for it.
constexpr double kFasterMin = 1.02;
constexpr uint64_t kSavedSharesMin = 50;  // of the budget, saved is at least one in so many

constexpr uint64_t kCellsStep = 256;

bool is_coarse(const std::string& type) { return cache_row_bytes(type, 32) < 2 * 32; }

uint64_t kv_bytes(const PlanRequest& request, const CacheFormat& format, uint64_t n_ctx) {
  const auto need = model_need(*request.model, {.n_ctx = n_ctx,
                                                .n_seq = request.n_seq,
                                                .cache = format,
                                                .swa_full = request.swa_full,
                                                .shared = request.shared_context});
  return need ? need->kv_bytes : UINT64_MAX;
}

// The longest context whose cache is no larger than `bytes`, and that the model was trained for. 0: no longer one.
uint64_t context_within(const PlanRequest& request, const CacheFormat& format, uint64_t bytes) {
  const uint64_t n_seq = request.shared_context ? 1 : request.n_seq, n_now = request.n_ctx / n_seq;
  const uint64_t n_train = request.model->n_ctx_train;
  const auto holds = [&](uint64_t steps) { return kv_bytes(request, format, steps * kCellsStep * n_seq) <= bytes; };
  // A window's cache does not grow with the context: what is asked for is at most eight times as much.
  uint64_t low = n_now / kCellsStep, high = 8 * (low + 1);
  if (n_train > 0) high = std::min(high, n_train / kCellsStep);
  if (high <= low) return 0;
  while (low < high) {
    const uint64_t middle = low + (high - low + 1) / 2;
    if (holds(middle))
      low = middle;
    else
      high = middle - 1;
  }
  return low * kCellsStep > n_now ? low * kCellsStep * n_seq : 0;
}

}  // namespace

std::string cache_options_text(const CacheFormat& format) {
  return fmt::format("--cache-type-k {} --cache-type-v {}", format.type_k, format.type_v);
}

std::optional<CacheOffer> cache_offer(const PlanRequest& request, const Plan* plan) {
  if (is_coarse(request.cache.type_k) || is_coarse(request.cache.type_v)) return std::nullopt;
  PlanRequest other = request;
  other.cache = {.type_k = kOfferedType, .type_v = kOfferedType, .flash = request.cache.flash};
  if (!check_cache_format(*request.model, other.cache)) return std::nullopt;
  const uint64_t now_bytes = kv_bytes(request, request.cache, request.n_ctx);
  const uint64_t then_bytes = kv_bytes(request, other.cache, request.n_ctx);
  if (then_bytes >= now_bytes) return std::nullopt;  // recurrent layers alone keep no keys
  const auto then = make_plan(other);
  if (!then) return std::nullopt;
  CacheOffer offer{.format = other.cache,
                   .saved_bytes = now_bytes - then_bytes,
                   .n_ctx = context_within(request, other.cache, now_bytes),
                   .prediction = then->prediction};
  if (plan == nullptr) return offer;
  const bool is_faster = then->prediction.decode_tok_per_s >= kFasterMin * plan->prediction.decode_tok_per_s;
  if (!is_faster && offer.saved_bytes < plan->host.memory_bytes / kSavedSharesMin) return std::nullopt;
  return offer;
}

}  // namespace spillway
