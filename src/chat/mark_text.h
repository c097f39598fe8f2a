// SPDX-License-Identifier: MIT
// Texts made of marks, such as <tool_call> or [TOOL_CALLS], compared without cutting a mark in two. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace spillway {

// Where the mark begins that `at` lies within; `at` where it lies within none.
size_t mark_start(std::string_view text, size_t at);

// What both begin with, or end with, without the part of a mark that one of them cuts.
size_t common_prefix(std::string_view a, std::string_view b);
size_t common_suffix(std::string_view a, std::string_view b);

// `text` without blanks, as marks and what stands between them.
std::vector<std::string> tokens_of(std::string_view text);

// Begins with something that no ordinary text begins with.
bool begins_with_mark(std::string_view text);

std::string trimmed(std::string_view text);

}  // namespace spillway
