// SPDX-License-Identifier: MIT
// Every constant of this room that was chosen by measuring, with its reason. 2 cores, NVMe of 2-3 GB/s, Linux 6.18.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace spillway {

// Reads tried when nothing was measured. 16 MiB in flight saturate the disks seen; the size stays below 1 MiB, because
// many devices take 254 segments, and where memory is not in huge pages a read of 256 scattered ones would be cut in
// two.
inline constexpr uint32_t kReadBytesDefault = 1 * MiB - 2 * kPageBytes;
inline constexpr unsigned kReadDepthDefault = 16;

// A read that fails or comes back short is tried this often in all before the request that needs it fails.
inline constexpr unsigned kReadTries = 2;

// Bytes of guesses in flight: what somebody waits for queues behind them, and a disk at rest does not need more to be
// busy (1, 4 and 16 reads in flight gained 33, 49 and 45 % for others).
inline constexpr uint64_t kLikelyBytesInFlight = 4 * MiB;

// Half-lives of an expert's heats, in the passes that choose as many experts as a layer has (21 tokens where 6 of 128
// are used), the fast one's weight, and what a whole round through the layers counts in passes. Hits in % on recorded
// routing of Qwen3-30B-A3B and Gemma 4 26B-A4B after 32 tokens, with memory for 6.25, 10, 20 and 30 % of the experts:
//     these                       44.7 58.8 79.9 90.6   46.0 58.5 76.9 87.3
//     the layers' turns once      44.3 58.5 79.8 90.6   45.9 58.1 76.8 87.2
//     one heat, the slow one      43.2 56.4 78.6 90.5   44.5 56.8 75.7 87.2
//     one heat, no turns          42.6 55.7 78.3 90.4   44.1 56.4 75.5 87.1
inline constexpr double kSlowHalfLifePools = 1.0, kFastHalfLifePools = 0.1;
inline constexpr double kFastWeight = 0.3;
inline constexpr double kTurnWeight = 2.0;

}  // namespace spillway
