// SPDX-License-Identifier: MIT
#include "engine/long_numbers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

namespace spillway {
namespace {

// Digits to the square, of all numbers together: one of 100,000 digits, or a hundred of 10,000.
constexpr uint64_t kDigitsSquaredMax = 100'000ull * 100'000;

}  // namespace

bool takes_long_for_numbers(std::string_view pre_tokenizer) { return pre_tokenizer == "superbpe"; }

Result<void> check_numbers(std::string_view text) {
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  uint64_t squared = 0, longest = 0;
  for (auto at = text.begin(); at != text.end();) {
    const auto begin = std::find_if(at, text.end(), is_digit);
    at = std::find_if_not(begin, text.end(), is_digit);
    const auto digits = static_cast<uint64_t>(at - begin);
    squared += digits * digits;
    longest = std::max(longest, digits);
  }
  if (squared <= kDigitsSquaredMax) return {};
  return error(Code::kInvalidArgument,
               fmt::format("the text has a number of {} digits: this model's tokenizer takes time that grows with the "
                           "square of that, so long numbers are refused",
                           longest));
}

}  // namespace spillway
