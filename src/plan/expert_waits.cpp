// SPDX-License-Identifier: MIT
#include "plan/expert_waits.h"

#include <algorithm>
#include <array>
#include <vector>

namespace spillway {
namespace {

// An expert's matrices are multiplied with one after the other, and read in that order.
constexpr size_t kMatrices = 3;
using Arrivals = std::array<double, kMatrices>;

// Numbers in [0, 1) in an order like chance's, each 1/kDraws apart from the next larger one: so many of them are below
// a share as the share says, and a higher share only adds to them.
constexpr uint32_t kDrawBits = 12, kDraws = 1u << kDrawBits;
double draw(uint32_t i, uint32_t series) {
  constexpr uint32_t kMask = kDraws - 1;
  uint32_t x = (i * 2477u + series * 1231u) & kMask;  // each step is one to one in kDrawBits bits
  x ^= x >> 5;
  x = (x * 1597u) & kMask;
  x ^= x >> 7;
  x = (x * 2917u) & kMask;
  x ^= x >> 6;
  return (x + 0.5) / kDraws;
}

// One disk, which serves in the order of asking.
class Disk {
 public:
  explicit Disk(const ExpertWaits& waits) : read_s_(waits.read_s), begin_s_(waits.begin_s) {}

  // When each of the matrices of `n_experts` that are asked for at `now_s` is there.
  Arrivals read(double now_s, unsigned n_experts) {
    if (n_experts == 0) return {now_s, now_s, now_s};
    const double from_s = std::max(free_s_, now_s + begin_s_);
    Arrivals there;
    for (size_t m = 0; m < kMatrices; ++m)
      there[m] = from_s + n_experts * read_s_ * static_cast<double>(m + 1) / static_cast<double>(kMatrices);
    free_s_ = there.back();
    return there;
  }

 private:
  const double read_s_, begin_s_;
  double free_s_ = 0;
};

struct Layer {
  unsigned n_guessed = 0, n_late = 0;  // missing: known by a guess, or only by its own router
  bool asked_for = false;
  Arrivals there{};  // of the guessed ones
};

}  // namespace

double token_with_waits_s(const ExpertWaits& waits) {
  const uint64_t n_used = std::max<uint64_t>(waits.n_expert_used, 1);
  const uint64_t n_layers = std::max<uint64_t>(waits.n_layers, 1);
  // 1. Which layers miss how many.
  std::vector<Layer> layers(std::max<uint64_t>(kDraws / n_used, 1));
  for (uint32_t i = 0; i < layers.size() * n_used; ++i) {
    if (draw(i, 0) >= waits.miss_rate) continue;
    Layer& layer = layers[i / n_used];
    ++(waits.layers_ahead > 0 && draw(i, 1) < waits.guessed_share ? layer.n_guessed : layer.n_late);
  }
  // 2. One after the other, the last token perhaps in part.
  const double products_s = waits.layer_s * waits.products_share / static_cast<double>(kMatrices);
  Disk disk(waits);
  double now_s = 0;
  for (size_t l = 0; l < layers.size(); ++l) {
    now_s += waits.layer_s * (1 - waits.products_share);
    Layer& layer = layers[l];
    if (!layer.asked_for) layer.there = disk.read(now_s, layer.n_guessed);
    const Arrivals late = disk.read(now_s, layer.n_late);
    const size_t left = n_layers - 1 - l % n_layers;  // of this token
    for (size_t n = 1; n <= std::min<size_t>(waits.layers_ahead, left) && l + n < layers.size(); ++n) {
      Layer& ahead = layers[l + n];
      if (!ahead.asked_for) ahead.there = disk.read(now_s, ahead.n_guessed);
      ahead.asked_for = true;
      if (ahead.n_guessed > 0 && ahead.there.back() > now_s) break;
    }
    for (size_t m = 0; m < kMatrices; ++m) now_s = std::max({now_s, layer.there[m], late[m]}) + products_s;
  }
  return now_s * static_cast<double>(n_layers) / static_cast<double>(layers.size());
}

}  // namespace spillway
