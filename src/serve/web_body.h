// SPDX-License-Identifier: MIT
// Bodies that come compressed: Content-Encoding gzip, deflate, br, zstd. Pure but for memory.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace spillway {

// Whether decode_body() knows it; several in a row ("gzip, br") are none. "" and "identity" are.
bool is_known_encoding(std::string_view encoding);

// `body` without its encoding. `may_take` is asked before each piece whether so many bytes more are fine.
//   InvalidArgument   damaged, cut off, or followed by something else
//   OutOfBudget       larger than `bytes_max`
//   Busy              may_take() said no
Result<std::string> decode_body(std::string_view encoding, std::string body, uint64_t bytes_max,
                                const std::function<bool(uint64_t)>& may_take);

}  // namespace spillway
