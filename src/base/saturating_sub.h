// SPDX-License-Identifier: MIT
// Subtraction of counts and bytes that ends at zero instead of wrapping round. (C++26 has std::saturating_sub.)
#pragma once

#include <concepts>
#include <type_traits>

namespace spillway {

// `a - b`, or 0 where b is the larger. The first argument's type is the result's.
template <std::unsigned_integral T>
constexpr T saturating_sub(T a, std::type_identity_t<T> b) {
  return a > b ? a - b : T{0};
}

}  // namespace spillway
