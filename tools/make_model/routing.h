// SPDX-License-Identifier: MIT
// Weights that make the routers of a generated MoE model choose experts as real models do (--routing zipf).
//
// Plain random routers choose all experts equally often and forget the previous token: then every cache hits exactly
// its share of the experts. Real ones have favourites, and neighbouring tokens share experts. Here each token belongs
// to a cluster, token id % kClusters, and its embedding is a sum of three random directions: one that all tokens share,
// one of its cluster, one of its own. A router row answers to these in turn:
//
//   logit(expert, token) = popularity(expert)           Zipf-Mandelbrot over a random order of each layer's experts
//                        + affinity(expert, cluster)    Gaussian
//                        + noise(expert, token)         Gaussian, small
//
// and the layers change the residual stream too little to drown that. Locality in time comes from the text: ids that
// stay in their cluster with probability 0.35, and are uniform otherwise, give the figures below. Qwen3-30B-A3B as
// recorded (128 experts, 6 used, 48 layers, 128 tokens), a generated qwen3moe of that shape with embd 1024, and its
// --routing uniform:
//
//                         recorded    zipf, 0.35   zipf, random ids   uniform
//   overlap at lag 1, %      38           38              22              5
//           at lag 2, 8, 32  29 27 24     29 22 21        23 22 22        5 5 5
//   share of the top 8, 32   45 86        45 88           45 88           13 40
//   distinct experts         64           62              63              127
//   LRU hit rate, % when     38 50 73     37 51 73        22 37 67        5 10 18
//   5 10 20 30 40 % fit      86 91        85 90           83 90           29 38
//   router reuse recall      89           94              94              91
//
// (lag: experts shared with that many tokens before; reuse: the next layer's router on this layer's input, 89
// being BigMoeOnEdge's figure.) English text, cut into syllables, has 25 at every lag and 25 40 76 89 93. What is
// missing is drift: recorded overlap stays higher from lag 4 on. Hit rates on generated models are modelled, not
// measured.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "make_model/model_spec.h"
#include "make_model/random.h"

namespace spillway::make_model {

// Read-only once made, so any thread may use it. `spec` must outlive it.
class RoutingDesign {
 public:
  static constexpr int64_t kClusters = 64;

  explicit RoutingDesign(const ModelSpec& spec);

  // `random` is a stream of the row's own; `row` has spec.embd numbers.
  void make_embedding(int64_t cluster, Random& random, std::span<float> row) const;
  void make_router(int64_t layer, int64_t expert, Random& random, std::span<float> row) const;

 private:
  std::span<const float> direction(int64_t index) const;  // 0: shared by all; 1 + k: of cluster k

  const ModelSpec& spec_;
  std::vector<float> directions_;  // [1 + kClusters][embd], mean square 1
  std::vector<float> popularity_;  // [layer][expert], mean 0 in each layer
};

}  // namespace spillway::make_model
