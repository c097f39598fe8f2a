// SPDX-License-Identifier: MIT
#include "engine/long_runs.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace spillway {
namespace {

// Characters to the square, of all runs together: a number of 10,000 digits, or a hundred of 1,000.
constexpr uint64_t kDigitsSquaredMax = 10'000ull * 10'000, kBlanksSquaredMax = 150'000ull * 150'000;

// Bytes of the digit that `text` begins with, of those that a pattern's \d takes; 0: none.
size_t digit_bytes(std::string_view text) { return text.front() >= '0' && text.front() <= '9' ? 1 : 0; }

// The same of a blank, Unicode's included (White_Space).
size_t blank_bytes(std::string_view text) {
  constexpr std::string_view kOneByte = " \t\n\v\f\r";
  constexpr std::array<std::string_view, 8> kLonger = {"\u0085", "\u00A0", "\u1680", "\u2028",
                                                       "\u2029", "\u202F", "\u205F", "\u3000"};
  if (kOneByte.find(text.front()) != std::string_view::npos) return 1;
  for (const std::string_view blank : kLonger)
    if (text.starts_with(blank)) return blank.size();
  const bool is_wide = text.starts_with("\xE2\x80") && text.size() > 2 && (text[2] & '\xF0') == '\x80' &&
                       static_cast<unsigned char>(text[2]) <= 0x8A;
  return is_wide ? 3 : 0;  // U+2000 to U+200A
}

}  // namespace

LongRuns slow_runs_of(std::string_view pre_tokenizer) {
  if (pre_tokenizer == "superbpe") return LongRuns::kDigits;
  return pre_tokenizer == "jais-2" ? LongRuns::kBlanks : LongRuns::kHarmless;
}

Result<void> check_runs(std::string_view text, LongRuns slow) {
  if (slow == LongRuns::kHarmless) return {};
  const auto bytes_of_one = slow == LongRuns::kDigits ? digit_bytes : blank_bytes;
  uint64_t squared = 0, longest = 0, run = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t bytes = bytes_of_one(text.substr(at));
    squared += bytes > 0 ? 2 * run + 1 : 0;  // from run^2 to (run + 1)^2
    run = bytes > 0 ? run + 1 : 0;
    longest = std::max(longest, run);
    at += std::max<size_t>(bytes, 1);
  }
  if (squared <= (slow == LongRuns::kDigits ? kDigitsSquaredMax : kBlanksSquaredMax)) return {};
  return error(
      Code::kInvalidArgument,
      fmt::format("the text has {} {} in a row: this model's tokenizer takes time that grows with the square of "
                  "that, so such texts are refused",
                  longest, slow == LongRuns::kDigits ? "digits" : "blanks"));
}

}  // namespace spillway
