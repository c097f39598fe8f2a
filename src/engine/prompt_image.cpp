// SPDX-License-Identifier: MIT
#include "engine/prompt_image.h"

#include <fmt/format.h>

#include <atomic>
#include <random>

namespace spillway {
namespace {

// No letter of it is written otherwise in JSON or HTML, as templates may do.
constexpr std::string_view kMarkEnd = "-mark";

// Drawn anew by each process, so that no text can be written to hold one.
const std::string& mark_begin() {
  static const std::string begin = [] {
    std::random_device random;
    return fmt::format("image-{:08x}{:08x}{:08x}-", random(), random(), random());
  }();
  return begin;
}

}  // namespace

std::string new_image_mark() {
  static std::atomic<uint64_t> n_marks = 0;
  return fmt::format("{}{}{}", mark_begin(), ++n_marks, kMarkEnd);
}

std::vector<MarkedPiece> split_at_image_marks(std::string_view text) {
  std::vector<MarkedPiece> pieces;
  while (!text.empty()) {
    const size_t begin = text.find(mark_begin());
    const size_t end = begin == std::string_view::npos ? begin : text.find(kMarkEnd, begin);
    if (end == std::string_view::npos) break;
    if (begin > 0) pieces.push_back({text.substr(0, begin), false});
    pieces.push_back({text.substr(begin, end + kMarkEnd.size() - begin), true});
    text.remove_prefix(end + kMarkEnd.size());
  }
  if (!text.empty()) pieces.push_back({text, false});
  return pieces;
}

}  // namespace spillway
