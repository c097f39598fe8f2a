// SPDX-License-Identifier: MIT
#include "store/heat_profile.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "base/bytes.h"
#include "base/hash.h"
#include "os/file.h"
#include "os/machine.h"

namespace spillway {
namespace {

constexpr std::string_view kMagic = "spillway-heat 1";

uint64_t checksum(std::string_view text) {
  Fnv1a hash;
  hash.add(text.data(), text.size());
  return hash.value();
}

std::string profile_path(const std::string& model_key) {
  const std::string folder = cache_folder();
  return folder.empty() ? "" : fmt::format("{}/heat/{:016x}.txt", folder, checksum(model_key));
}

// The text up to the next newline, taken off `text`.
std::string_view take_line(std::string_view& text) {
  const size_t end = text.find('\n');
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return line;
}

}  // namespace

// Lines: magic, key, one value per extent; last "sum HEX" over all before it.
std::string encode_heat(const std::string& model_key, std::span<const double> heat) {
  std::string text = fmt::format("{}\n{}\n", kMagic, model_key);
  for (const double value : heat) text += fmt::format("{:.3g}\n", value);
  return text + fmt::format("sum {:016x}\n", checksum(text));
}

std::optional<std::vector<double>> decode_heat(std::string_view text, const std::string& model_key, size_t n_extents) {
  const size_t last = text.rfind("sum ");
  if (last == std::string_view::npos ||
      text.substr(last) != fmt::format("sum {:016x}\n", checksum(text.substr(0, last))))
    return std::nullopt;
  text = text.substr(0, last);
  if (take_line(text) != kMagic || take_line(text) != model_key) return std::nullopt;
  std::vector<double> heat;
  while (!text.empty()) {
    const std::string_view line = take_line(text);
    double value = 0;
    const auto [end, code] = std::from_chars(line.data(), line.data() + line.size(), value);
    if (code != std::errc() || end != line.data() + line.size() || !std::isfinite(value) || value < 0)
      return std::nullopt;
    heat.push_back(value);
  }
  if (heat.size() != n_extents) return std::nullopt;
  return heat;
}

std::optional<std::vector<double>> load_heat(const std::string& model_key, size_t n_extents) {
  const std::string path = profile_path(model_key);
  if (path.empty()) return std::nullopt;
  // A header, and a line of at most 24 digits for each.
  const auto text = read_text_file(path, model_key.size() + 4 * KiB + 32 * uint64_t{n_extents});
  return text ? decode_heat(*text, model_key, n_extents) : std::nullopt;
}

Result<void> save_heat(const std::string& model_key, std::span<const double> heat) {
  const std::string path = profile_path(model_key);
  if (path.empty()) return {};
  return replace_file(path, encode_heat(model_key, heat));
}

}  // namespace spillway
