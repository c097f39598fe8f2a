// SPDX-License-Identifier: MIT
// Where a tensor lives, and in which form its weights lie there.
#pragma once

#include <cstdint>

namespace spillway {

enum class Tier : uint8_t {
  kPinned,   // in memory for good
  kRing,     // dense: read anew in each pass
  kExperts,  // slices kept by heat, read when the router asks
  kRows,     // only single rows are ever read (an embedding), from the file
  kDevice,   // in a device's own memory: nothing of it stays on the host
  kUnused,   // no graph uses it: nobody reads it, and it takes no memory
};
const char* tier_name(Tier tier);

// Which kernels multiply with it: their results differ in the last bits.
enum class Form : uint8_t {
  kPlain,     // as in the file
  kRepacked,  // as ggml's extra buffer types want it: llama.cpp's default where a type has such a form
};

}  // namespace spillway
