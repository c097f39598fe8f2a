// SPDX-License-Identifier: MIT
// Text from files and servers that is to be shown or put into JSON.
#pragma once

#include <string>
#include <string_view>

namespace spillway {

// `text` with each byte that is no part of valid UTF-8 (overlong forms, surrogates and values above U+10FFFF are none)
// replaced by U+FFFD.
std::string valid_utf8(std::string_view text);

// The first 200 bytes, and "…" in place of the others, with "?" for control characters: what a message, which is one
// line, repeats of what somebody sent.
std::string shortened(std::string_view text);

// `text` as valid UTF-8 with "?" for each control character but line breaks and tabs: what a terminal shows of a file's
// text, and does nothing else with.
std::string printable(std::string_view text);

}  // namespace spillway
