// SPDX-License-Identifier: MIT
// Popularity by rank follows Zipf and Mandelbrot, w(r) = (r + 1 + q)^-s, as fitted to public routing traces: q = 4,
// s = 1.6, and about 0.7 of the experts of a layer are ever used where there are many. Models with more than 256
// experts are flatter; 1.2 meets what is reported of them. A token uses k different experts, so the popular ones are
// chosen less often than their weight says: expert r with probability 1 - exp(-m w(r)), m such that these sum to k.
#include "plan/expert_locality.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace spillway {
namespace {

constexpr double kOffset = 4;
constexpr double kExponent = 1.6, kExponentMany = 1.2;
constexpr uint64_t kMany = 256;
constexpr uint64_t kFew = 32;
constexpr double kUsedShare = 0.7;
// The page cache at a share hits as often as frequencies do at this much of it (traces: 44 to 52 % at a share of 8 %,
// 73 to 76 % at 20 %).
constexpr double kLruShare = 0.8;
constexpr uint64_t kExpertMax = 1u << 16;

// hits[r]: what the r most used experts of a layer have of all uses. Of all `n_expert`, so hits.back() = 1.
std::vector<double> cumulative_uses(uint64_t n_expert, uint64_t n_used) {
  const bool few = n_expert<kFew, many = n_expert> kMany;
  const auto n_live = std::max(
      n_used, static_cast<uint64_t>(std::ceil(static_cast<double>(n_expert) * (few || many ? 1 : kUsedShare))));
  std::vector<double> weights(n_live);
  for (size_t r = 0; r < n_live; ++r)
    weights[r] = std::pow(static_cast<double>(r) + 1 + kOffset, -(many ? kExponentMany : kExponent));
  const auto expected = [&](double m) {
    double sum = 0;
    for (const double w : weights) sum += 1 - std::exp(-m * w);
    return sum;
  };
  const double wanted = std::min(static_cast<double>(n_used), 0.999 * static_cast<double>(n_live));
  double low = 0, high = 1;
  while (expected(high) < wanted) high *= 2;
  for (int i = 0; i < 60; ++i) (expected((low + high) / 2) < wanted ? low : high) = (low + high) / 2;
  const double total = expected(high);
  std::vector<double> hits(n_expert + 1, 1.0);
  double sum = 0;
  for (size_t r = 0; r < n_live; ++r) {
    hits[r] = sum / total;
    sum += 1 - std::exp(-high * weights[r]);
  }
  return hits;
}

// A plan asks for few shapes, many times; a server's models may claim thousands, of half a MiB each. Shared, since one
// that makes room for others may be in use.
constexpr size_t kCachedMax = 64;
using Uses = std::shared_ptr<const std::vector<double>>;
Uses cached_uses(uint64_t n_expert, uint64_t n_used) {
  static std::mutex mutex;
  static std::map<std::pair<uint64_t, uint64_t>, Uses> cache;
  const std::scoped_lock lock(mutex);
  if (const auto found = cache.find({n_expert, n_used}); found != cache.end()) return found->second;
  if (cache.size() >= kCachedMax) cache.clear();
  return cache[{n_expert, n_used}] = std::make_shared<const std::vector<double>>(cumulative_uses(n_expert, n_used));
}

}  // namespace

double expert_hit_rate(uint64_t n_expert, uint64_t n_expert_used, double share) {
  if (share >= 1) return 1;
  if (!(share > 0) || n_expert == 0) return 0;
  n_expert = std::min(n_expert, kExpertMax);
  const uint64_t n_used = std::clamp<uint64_t>(n_expert_used, 1, n_expert);
  const Uses uses = cached_uses(n_expert, n_used);
  const std::vector<double>& hits = *uses;
  const double held = share * static_cast<double>(n_expert);
  const auto whole = static_cast<size_t>(held);
  return hits[whole] + (hits[whole + 1] - hits[whole]) * (held - static_cast<double>(whole));
}

double expert_hit_rate_lru(uint64_t n_expert, uint64_t n_expert_used, double share) {
  if (share >= 1) return 1;
  if (share * static_cast<double>(n_expert) < static_cast<double>(n_expert_used)) return 0;
  return expert_hit_rate(n_expert, n_expert_used, kLruShare * share);
}

double experts_touched(uint64_t n_expert, uint64_t n_expert_used, uint64_t n_tokens) {
  if (n_expert == 0) return 1;
  const double chosen = std::min(1.0, static_cast<double>(n_expert_used) / static_cast<double>(n_expert));
  return 1 - std::pow(1 - chosen, static_cast<double>(n_tokens));
}

}  // namespace spillway
