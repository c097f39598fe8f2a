// SPDX-License-Identifier: MIT
// Tokens for tests that need no vocabulary: one per byte.
#pragma once

#include <string_view>
#include <vector>

#include "engine/engine.h"

namespace spillway {

inline std::vector<TokenId> ids(std::string_view text) {
  std::vector<TokenId> out;
  for (const char c : text) out.push_back(static_cast<unsigned char>(c));
  return out;
}

}  // namespace spillway
