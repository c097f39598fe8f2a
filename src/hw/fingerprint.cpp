// SPDX-License-Identifier: MIT
#include "hw/fingerprint.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "base/bytes.h"
#include "base/hash.h"

namespace spillway {
namespace {

constexpr uint64_t kRamGrain = 256 * MiB;
constexpr std::string_view kBetween = "; ", kAfterName = ": ";

// A value that contains what stands between values would not be found again.
std::string plain(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c == ';' || c == '\n'; }, ',');
  return text;
}

std::string hashed(const std::string& text) {
  if (text.empty()) return "none";
  Fnv1a hash;
  hash.add(text.data(), text.size());
  return fmt::format("{:016x}", hash.value());
}

std::vector<std::pair<std::string, std::string>> parts_of(std::string_view text) {
  std::vector<std::pair<std::string, std::string>> parts;
  while (!text.empty()) {
    const size_t end = text.find(kBetween);
    const std::string_view part = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + kBetween.size());
    const size_t colon = part.find(kAfterName);
    if (colon == std::string_view::npos) continue;
    parts.emplace_back(part.substr(0, colon), part.substr(colon + kAfterName.size()));
  }
  return parts;
}

}  // namespace

std::string fingerprint_of(const MachineIdentity& identity) {
  return fmt::format("cpu: {}; threads: {}; memory: {}; disk: {}; ggml: {}; devices: {}", plain(identity.cpu),
                     identity.n_threads, format_bytes((identity.ram_bytes + kRamGrain / 2) / kRamGrain * kRamGrain),
                     hashed(identity.disk), plain(identity.ggml),
                     identity.devices.empty() ? "none" : plain(fmt::format("{}", fmt::join(identity.devices, ", "))));
}

std::string fingerprint_difference(const std::string& then, const std::string& now) {
  if (then == now) return {};
  std::vector<std::string> differences;
  const auto before = parts_of(then);
  for (const auto& [name, value] : parts_of(now)) {
    const auto same_name = [&, &wanted = name](const auto& part) { return part.first == wanted; };
    const auto found = std::find_if(before.begin(), before.end(), same_name);
    if (found == before.end()) return "nothing says what it is of";
    if (found->second == value) continue;
    // Hashes tell people nothing.
    differences.push_back(name == "disk" ? "another disk"
                                         : fmt::format("{}: {} then, {} now", name, found->second, value));
  }
  return differences.empty() ? "nothing says what it is of" : fmt::format("{}", fmt::join(differences, "; "));
}

}  // namespace spillway
