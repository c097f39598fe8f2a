// SPDX-License-Identifier: MIT
// Token ids for benchmarks: the same for every run of a seed, on every machine.
//
// What a model with random weights would choose collapses to a fixed point, and a cache that always hits proves
// nothing; uniform ids are too hard instead, because neighbouring tokens of a text share experts. Ids that stay in
// their cluster (id % 64) with probability 0.35 give a generated MoE model the overlap between tokens and the LRU hit
// rates recorded with Qwen3-30B-A3B (tools/make_model/routing.h has the table). For other models the clusters mean
// nothing.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/engine.h"

namespace spillway {

// `n` ids in [0, n_vocab).
std::vector<TokenId> bench_token_ids(size_t n, uint32_t n_vocab, uint64_t seed);

// "1,2,3", as --token-ids and --teacher-tokens take it.
std::string token_list(const std::vector<TokenId>& ids);

}  // namespace spillway
