// SPDX-License-Identifier: MIT
// Where a prompt is cut into parts, so that its numbers do not depend on that. Pure.
//
// ggml computes 64 rows of a sequence and more in one way, fewer in others, and its repacked kernels take rows in
// groups from the first of a part. Parts that begin at multiples of 64 and have 64 tokens at least give the same bits
// however many there are: measured on plain and repacked kernels (x86, llama.cpp 0.7), where other cuts moved logits by
// 1 to 12 %. A prompt of fewer than 128 tokens is therefore never cut. Models with experts are an exception: K-quants
// compute one row in another way than several, and of a short part an expert may get a single one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>

#include "engine/prompt_image.h"

namespace spillway {

inline constexpr size_t kPartTokens = 64;

constexpr size_t whole_parts(size_t n) { return n / kPartTokens * kPartTokens; }

// The last place at which a prompt of `n_prompt` tokens may be cut; 0: nowhere.
constexpr size_t last_cut(size_t n_prompt) {
  return n_prompt < 2 * kPartTokens ? 0 : whole_parts(n_prompt - kPartTokens);
}

// The end of the part that begins at `from`, when at most `room` tokens may be computed at once. Where that is too
// little for a part, it is all of the room.
constexpr size_t part_end(size_t n_prompt, size_t from, size_t room) {
  if (n_prompt - from <= room) return n_prompt;
  const size_t end = std::min(whole_parts(from + room), last_cut(n_prompt));
  return end > from ? end : from + room;
}

// Whether tokens from `from` to `end`, as a part of a prompt of `n_prompt`, get the bits that they get in any such
// part.
constexpr bool is_proper_part(size_t n_prompt, size_t from, size_t end) {
  return from % kPartTokens == 0 && end - from >= kPartTokens && (end == n_prompt || end % kPartTokens == 0);
}

// The text between two images, or an image and an end of the prompt, that the token at `at` is of: where it begins and
// ends. Nothing is cut across an image.
struct TextStretch {
  size_t begin = 0, end = 0;
};
inline TextStretch text_around(std::span<const TokenId> tokens, size_t at) {
  TextStretch text{.begin = at, .end = next_image(tokens, at)};
  while (text.begin > 0 && !is_image_place(tokens[text.begin - 1])) --text.begin;
  return text;
}

// is_proper_part() of a prompt's text, from `from` to `end`. Short texts in front of an image are never cut.
inline bool is_proper_text(std::span<const TokenId> tokens, size_t from, size_t end) {
  const TextStretch text = text_around(tokens, from);
  return is_proper_part(text.end - text.begin, from - text.begin, end - text.begin) ||
         (from == text.begin && end == text.end && end < tokens.size());
}

}  // namespace spillway
