// SPDX-License-Identifier: MIT
#include "make_model/routing.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace spillway::make_model {
namespace {

// Shares of an embedding's variance. A token's own share is the smallest, so that the 64 affinities of a router row,
// each of which also picks up a little of it, do not add up to more than the noise wanted.
constexpr float kSharedVariance = 0.2f;
constexpr float kClusterVariance = 0.5f;
constexpr float kOwnVariance = 0.3f;

// Fitted to recorded traces; the header has the result.
constexpr double kZipfExponent = 1.6;
constexpr double kZipfOffset = 4;
constexpr float kLogitVariance = 1.9f * 1.9f;  // of affinity and noise together
constexpr float kAffinityShare = 0.85f;

// Many small experts fall into those that a text uses and those it hardly touches: half of them past the first layers,
// most of them before. Few large ones are balanced better, so the penalty fades below 128 experts.
constexpr double kRarePenalty = 2;
constexpr double kCommonShareFirst = 0.80;
constexpr double kCommonShareLater = 0.48;
constexpr double kLaterBegins = 0.25;  // of the depth

double common_share(int64_t layer, int64_t layers) {
  const double depth = static_cast<double>(layer) / static_cast<double>(std::max<int64_t>(1, layers - 1));
  return kCommonShareFirst + (kCommonShareLater - kCommonShareFirst) * std::min(1.0, depth / kLaterBegins);
}

std::vector<int64_t> shuffled(int64_t count, Random random) {
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
  return order;
}

}  // namespace

RoutingDesign::RoutingDesign(const ModelSpec& spec) : spec_(spec) {
  Random random(stream_seed(spec.seed, "routing directions"));
  directions_.resize(static_cast<size_t>((1 + kClusters) * spec.embd));
  for (float& number : directions_) number = random.gaussian();

  const double rare_penalty = kRarePenalty * std::min(1.0, static_cast<double>(spec.experts) / 128);
  for (int64_t layer = 0; layer < spec.layers; ++layer) {
    const uint64_t seed = stream_seed(stream_seed(spec.seed, "popularity"), static_cast<uint64_t>(layer));
    const std::vector<int64_t> experts_by_rank = shuffled(spec.experts, Random(seed));
    const double common = common_share(layer, spec.layers) * static_cast<double>(spec.experts);
    std::vector<double> popularity(static_cast<size_t>(spec.experts));
    double sum = 0;
    for (int64_t rank = 0; rank < spec.experts; ++rank) {
      double& value = popularity[static_cast<size_t>(experts_by_rank[static_cast<size_t>(rank)])];
      value = -kZipfExponent * std::log(static_cast<double>(rank) + 1 + kZipfOffset);
      if (static_cast<double>(rank) >= common) value -= rare_penalty;
      sum += value;
    }
    for (const double value : popularity) {
      popularity_.push_back(static_cast<float>(value - sum / static_cast<double>(spec.experts)));
    }
  }
}

std::span<const float> RoutingDesign::direction(int64_t index) const {
  return std::span(directions_).subspan(static_cast<size_t>(index * spec_.embd), static_cast<size_t>(spec_.embd));
}

void RoutingDesign::make_embedding(int64_t cluster_index, Random& random, std::span<float> row) const {
  const std::span<const float> shared = direction(0);
  const std::span<const float> cluster = direction(1 + cluster_index);
  const float shared_gain = std::sqrt(kSharedVariance);
  const float cluster_gain = std::sqrt(kClusterVariance);
  const float own_gain = std::sqrt(kOwnVariance);
  for (size_t i = 0; i < row.size(); ++i) {
    row[i] = shared_gain * shared[i] + cluster_gain * cluster[i] + own_gain * random.gaussian();
  }
}

void RoutingDesign::make_router(int64_t layer, int64_t expert, Random& random, std::span<float> row) const {
  const float width = static_cast<float>(spec_.embd);
  const float affinity_variance = kLogitVariance * kAffinityShare;
  // 1. Noise: what the affinities already pick up of a token's own direction counts towards it.
  const float picked_up = affinity_variance * kClusters * kOwnVariance / (kClusterVariance * width);
  const float missing = std::max(0.0f, kLogitVariance - affinity_variance - picked_up);
  const float noise_gain = std::sqrt(missing / (width * kOwnVariance));
  for (float& number : row) number = noise_gain * random.gaussian();
  // 2. Popularity: every token has the shared direction in it.
  const std::span<const float> shared = direction(0);
  const float popularity = popularity_[static_cast<size_t>(layer * spec_.experts + expert)];
  const float popularity_gain = popularity / (width * std::sqrt(kSharedVariance));
  for (size_t i = 0; i < row.size(); ++i) row[i] += popularity_gain * shared[i];
  // 3. Affinity to each cluster.
  const float affinity_gain = std::sqrt(affinity_variance / kClusterVariance) / width;
  for (int64_t k = 0; k < kClusters; ++k) {
    const std::span<const float> cluster = direction(1 + k);
    const float gain = affinity_gain * random.gaussian();
    for (size_t i = 0; i < row.size(); ++i) row[i] += gain * cluster[i];
  }
}

}  // namespace spillway::make_model
