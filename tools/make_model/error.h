// SPDX-License-Identifier: MIT
// The generator's failures are sentences for its user; nothing branches on their kind.
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace spillway::make_model {

template <typename T>
using Expected = tl::expected<T, std::string>;

inline tl::unexpected<std::string> failure(std::string message) {
  return tl::unexpected<std::string>(std::move(message));
}

}  // namespace spillway::make_model
