// SPDX-License-Identifier: MIT
// The unit that is read and evicted: a tensor, one expert's slice of one, or all slices of an expert tensor together.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace spillway {

enum class ExtentId : uint32_t {};

constexpr uint32_t index_of(ExtentId id) { return static_cast<uint32_t>(id); }

// Which memory an extent may use, and how it is chosen for eviction.
enum class Pool : uint8_t {
  kRing,     // dense weights, in a fixed cyclic order: always read ahead, given up right after use
  kExperts,  // read when the router asks: kept by heat
  kWhole,    // an expert tensor for a long pass, which uses nearly all of it: as the ring, while such a pass runs
};

struct Extent {
  Pool pool = Pool::kRing;
  uint32_t slot_class = 0;
  uint32_t file = 0;  // index into GgufModel::files
  ByteRange range;    // in that file
  uint32_t tensor = 0, slice = 0;
  uint32_t turn = 0;  // its layer: when in a pass it is used

  uint64_t data_offset = 0;  // of its first byte within a slot
  uint64_t part_bytes = 0;   // 0: read straight into the slot; else through a buffer, in parts of so many bytes
};

enum class Priority : uint8_t {
  kDemand,       // somebody is about to compute with it: read first, kept until used
  kCertain,      // will be needed, in this order: read as memory allows, kept until used
  kLikely,       // will probably be needed: read while the disk would rest, kept until used or cancelled
  kSpeculative,  // may be needed: read when nothing else is, into memory that nobody uses yet
};
inline constexpr int kPriorities = 4;

}  // namespace spillway
