// SPDX-License-Identifier: MIT
#include "base/bytes.h"

#include <fmt/format.h>

#include <cctype>
#include <charconv>
#include <cmath>

namespace spillway {
namespace {

// Multiplier of "", "b", "k", "kb", "kib", ... ; 0 when it is no unit.
double unit_multiplier(std::string_view unit) {
  std::string lower;
  for (char c : unit) lower += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (lower.empty() || lower == "b") return 1;
  const std::string_view prefixes = "kmgt";
  const size_t power = prefixes.find(lower[0]);
  if (power == std::string_view::npos) return 0;
  const std::string rest = lower.substr(1);
  if (!rest.empty() && rest != "b" && rest != "ib") return 0;
  return std::pow(1024.0, static_cast<double>(power + 1));
}

}  // namespace

Result<uint64_t> parse_bytes(std::string_view text) {
  double number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  while (!unit.empty() && unit.front() == ' ') unit.remove_prefix(1);
  const double multiplier = unit_multiplier(unit);
  const double bytes = number * multiplier;
  if (code != std::errc() || multiplier == 0 || !(bytes >= 1) || bytes > 9e18)
    return error(Code::kInvalidArgument, fmt::format("'{}' is not a size; write for example 4GiB or 800M", text));
  return static_cast<uint64_t>(bytes);
}

std::string format_bytes(uint64_t bytes) {
  const double value = static_cast<double>(bytes);
  if (bytes >= GiB) return fmt::format("{:.2f} GiB", value / static_cast<double>(GiB));
  if (bytes >= MiB) return fmt::format("{:.0f} MiB", value / static_cast<double>(MiB));
  if (bytes >= KiB) return fmt::format("{:.0f} KiB", value / static_cast<double>(KiB));
  return fmt::format("{} B", bytes);
}

}  // namespace spillway
