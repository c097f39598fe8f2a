// SPDX-License-Identifier: MIT
// How a small model becomes a large one that computes the same. Pure.
//
// The four ways to grow, and why each changes nothing:
//
//   wider feed-forward blocks   An added unit does not reach the output: its column of the down matrix is zero, or its
//                               row of the up matrix is, and then silu(gate) * up is zero. What remains of it is
//                               random.
//   experts in parts            An expert of n units becomes p experts of n / p. Their rows in the router are equal, so
//   all
//                               or none are chosen; each gets 1 / p of the weight, and its down matrix is p times as
//                               large.
//   experts in copies           Every token gets a number below c from its id. The residual stream carries it in c
//   added
//                               dimensions: a tiny value in each but the one of that number. A copy's row in the router
//                               is the expert's, and a huge negative weight for its own dimension: the copies of the
//                               other numbers are out of the question, and to the one that remains nothing is added.
//   layers that add nothing     The last matrices of both halves, attention's output and down, are zero.
//
// For the added dimensions everything else is zero. RMSNorm divides by the root of a mean, so the width is multiplied
// by 4^k, which makes the mean 4^-k of what it was and the root 2^-k: with norm weights of 2^-k times the old ones, all
// powers of two, no digit changes. Blocks of numbers that computed together still do, in the same order, with whole
// blocks of zeros between: sums of products are the same too. Only softmax over more experts and sums over parts round
// otherwise.
#pragma once

#include <ggml.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "inflate/small_model.h"

namespace spillway::inflate {

struct Request {
  uint64_t bytes = 0;  // of the file, at most
  // Absent: as suits the size.
  std::optional<int64_t> experts = {}, experts_used = {}, layers = {}, embd = {};
  bool is_dense = false;               // all growth in weights that every token uses
  std::optional<ggml_type> type = {};  // absent: that of the small model's down matrices
  uint64_t seed = 1;
};

inline constexpr int64_t kGranule = 256;  // units that stay together: the longest block of any type

struct Growth {
  std::string arch;
  ggml_type type = GGML_TYPE_F32;  // of feed-forward matrices
  ggml_type attention_type = GGML_TYPE_F32, table_type = GGML_TYPE_F32, output_type = GGML_TYPE_F32;
  int64_t width_factor = 1;  // 4^k
  int64_t embd = 0, layers = 0;
  int64_t ff = 0;  // of an expert, or of the dense block; a multiple of kGranule
  int64_t experts = 0, experts_used = 0;
  int64_t copies = 1, parts = 1;  // experts = copies * parts * the small model's
  int64_t shared_ff = 0;          // width of an added block that every token uses, a multiple of ff; 0: none

  // Which layer of the small model each layer is; -1: one that adds nothing.
  std::vector<int64_t> layer_sources(int64_t small_layers) const;
};

// The largest model of at most request.bytes, in proportions as models have them. Fails for a size or a shape that
// cannot be, and where a format cannot hold the small model's numbers exactly; the message names what can.
Expected<Growth> plan_growth(const SmallModel& small, const Request& request);

}  // namespace spillway::inflate
