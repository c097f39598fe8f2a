// SPDX-License-Identifier: MIT
// Every constant of this room that was chosen by measuring, with its reason. 2 cores, NVMe of 2-3 GB/s, Linux 6.18.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace spillway {

// An extent smaller than this is cheaper to pin than to stream: a read of 4 KiB costs nearly as much as one of 256 KiB.
inline constexpr uint64_t kExtentBytesMin = 256 * KiB;

// Reads tried when nothing was measured. 16 MiB in flight saturate the disks seen; the size stays one page below 1 MiB,
// because many devices take 254 segments and a read of 256 scattered pages would be cut in two.
inline constexpr uint32_t kReadBytesDefault = 1 * MiB - 2 * kPageBytes;
inline constexpr unsigned kReadDepthDefault = 16;

// A read that fails or comes back short is tried this often in all before the request that needs it fails.
inline constexpr unsigned kReadTries = 2;

// Half-life of an expert's heat in accesses to its pool, as a multiple of the pool's extents: 21 tokens where 6 of 128
// experts are used. Long enough to rank experts used every few tokens, short enough to follow a change of topic
// (tests/store/policy_replay_test.cpp, hits in % with memory for 10 % of the experts): Qwen3-30B 54.9,
// Gemma-4-26B 55.3; four times as long 53.8 and 55.1, and after a change of topic 77 where lru has 81 (25 % in memory).
inline constexpr double kHeatHalfLifePools = 1.0;

// Lengths within this ratio of the longest share slots; at most this part of a slot lies idle.
inline constexpr double kSlotFillMin = 0.9;

}  // namespace spillway
