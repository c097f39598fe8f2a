// SPDX-License-Identifier: MIT
// Every constant of this room that was chosen by measuring, with its reason.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace spillway {

// Slots of the ring in which dense weights stream: one is computed with while the others are read. Fewer starve the
// disk when one operation takes long, more are memory that could hold weights for good.
inline constexpr uint32_t kRingSlotsMin = 2;
inline constexpr uint32_t kRingSlotsWanted = 6;

// Slots for whole expert tensors in a long pass: one is computed with, one is there, one is read.
inline constexpr uint32_t kWholeSlots = 3;

// An extent smaller than this is cheaper to pin than to stream: a read of 4 KiB costs nearly as much as one of 256 KiB.
inline constexpr uint64_t kExtentBytesMin = 256 * KiB;

// Memory comes in huge pages; where all of it is less than this many, rounding up to them would be felt, and it comes
// in pages of 4 KiB.
inline constexpr uint64_t kHugePagesMin = 32;

// A weight smaller than this stays when others press: without it nothing can be computed, and it frees next to nothing.
inline constexpr uint64_t kElasticBytesMin = 1 * MiB;

// Buffers for what cannot be read in place: the reads in flight, and those that are being put in place. Fewer where
// they would be more than a sixteenth of the memory.
inline constexpr uint64_t kStagingBuffersMin = 4, kStagingBuffersMax = 24, kStagingShare = 16;

}  // namespace spillway
