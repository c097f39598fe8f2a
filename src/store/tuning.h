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

// Half-life of an expert's heat in accesses to its pool, as a multiple of the pool's extents: long enough to rank experts
// used every few tokens, short enough to follow a change of topic.
inline constexpr double kHeatHalfLifePools = 4.0;

// Lengths within this ratio of the longest share slots; at most this part of a slot lies idle.
inline constexpr double kSlotFillMin = 0.9;

}  // namespace spillway
