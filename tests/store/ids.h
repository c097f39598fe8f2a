// SPDX-License-Identifier: MIT
// Extents by their numbers.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <vector>

#include "layout/extent.h"

namespace spillway {

using Ids = std::vector<ExtentId>;

inline Ids ids(std::initializer_list<uint32_t> numbers) {
  Ids all;
  for (const uint32_t n : numbers) all.push_back(ExtentId{n});
  return all;
}
inline Ids ids_from(uint32_t first, uint32_t count) {
  Ids all;
  for (uint32_t n = first; n < first + count; ++n) all.push_back(ExtentId{n});
  return all;
}

}  // namespace spillway
