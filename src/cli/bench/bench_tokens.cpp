// SPDX-License-Identifier: MIT
#include "cli/bench/bench_tokens.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <random>

#include "base/check.h"

namespace spillway {
namespace {

constexpr uint32_t kClusters = 64;
constexpr double kStay = 0.35;

// Not the distributions of <random>: their results differ between standard libraries.
class Dice {
 public:
  explicit Dice(uint64_t seed) : random_(seed) {}
  uint32_t below(uint32_t n) { return static_cast<uint32_t>(random_() % n); }
  double fraction() { return static_cast<double>(random_() >> 11) * 0x1p-53; }

 private:
  std::mt19937_64 random_;
};

}  // namespace

std::vector<TokenId> bench_token_ids(size_t n, uint32_t n_vocab, uint64_t seed) {
  CHECK(n_vocab > 0);
  Dice dice(seed);
  std::vector<TokenId> ids;
  while (ids.size() < n) {
    uint32_t id = dice.below(n_vocab);
    if (!ids.empty() && n_vocab >= kClusters && dice.fraction() < kStay) {
      const uint32_t cluster = static_cast<uint32_t>(ids.back()) % kClusters;
      id = cluster + kClusters * dice.below((n_vocab - cluster - 1) / kClusters + 1);
    }
    ids.push_back(static_cast<TokenId>(id));
  }
  return ids;
}

std::string token_list(const std::vector<TokenId>& ids) { return fmt::format("{}", fmt::join(ids, ",")); }

}  // namespace spillway
