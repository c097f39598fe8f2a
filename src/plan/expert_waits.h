// SPDX-License-Identifier: MIT
// How long a token takes whose routers ask for experts that are not in memory, while guesses reach some layers ahead.
// Pure.
//
// What is hidden depends on how much there is to read, how often, and how long layers compute, so the layers of many
// tokens are played through: each waits for its reads, one disk serves them in the order in which they are asked for,
// and a layer's router asks for what is guessed of the next layers as the engine's gate does, until one misses
// something. With constants for the share that is hidden instead, a processor a third as fast was predicted up to 27 %
// too slow.
#pragma once

#include <cstdint>

namespace spillway {

struct ExpertWaits {
  uint64_t n_layers = 1, n_expert_used = 1;
  double miss_rate = 0;       // of the experts that are asked for, 0..1
  double read_s = 0;          // of one expert, with the disk at work
  double begin_s = 0;         // more, when it had come to rest
  double layer_s = 0;         // of computing
  double products_share = 1;  // of that, what needs the experts
  uint32_t layers_ahead = 0;  // that guesses reach
  double guessed_share = 0;   // of what is missing, that was guessed
};

// Seconds per token, n_layers * layer_s without misses. Never less for a higher miss rate, longer reads or layers.
double token_with_waits_s(const ExpertWaits& waits);

}  // namespace spillway
