// SPDX-License-Identifier: MIT
// The unit that is read, published and evicted: the whole pages inside one tensor, or inside one expert's slice of one.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace spillway {

enum class ExtentId : uint32_t {};

constexpr uint32_t index_of(ExtentId id) { return static_cast<uint32_t>(id); }

// Which memory an extent may use, and how it is chosen for eviction.
enum class Pool : uint8_t {
  kRing,     // read in a fixed cyclic order (dense weights): always read ahead, given up right after use
  kExperts,  // read when the router asks: kept by heat
};

struct Extent {
  uint32_t file = 0;  // index of the weight space's files
  ByteRange pages;    // multiples of 4096, inside the file
  Pool pool = Pool::kRing;
  uint32_t group = 0;  // what it belongs to, for messages and statistics: the layer
};

enum class Priority : uint8_t {
  kDemand,       // somebody is about to compute with it: read first, kept until used
  kCertain,      // will be needed, in this order: read as memory allows, kept until used
  kLikely,       // will probably be needed: read after those, kept until used or cancelled
  kSpeculative,  // may be needed: read when nothing else is, into memory that nobody uses yet
};
inline constexpr int kPriorities = 4;

}  // namespace spillway
