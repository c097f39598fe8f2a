// SPDX-License-Identifier: MIT
// Images within a prompt. A prompt is token ids; where an image stands, each of its positions has the image's place, a
// number below 0. Equal places are equal images: nothing else gets that number while the process runs. So prompts with
// images are compared as any others are, and what was computed for one image is never taken for another.
//
//     tokens   1  887  -7 -7 -7 -7  13  1724     an image of four positions between text
//
// Some models give the tokens of an image positions in two dimensions: then it has fewer positions than tokens.
//
// Threads: values; what they share is constant. What is pure is inline: users of the engine are tested without it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/saturating_sub.h"
#include "base/status.h"

namespace spillway {

using TokenId = int32_t;

// What the model looks at as one: an image, or a part of one that it looks at in parts.
struct PromptImage {
  TokenId place = -1;
  uint32_t n_positions = 0;
  uint32_t n_tokens = 0;                    // of context that it takes
  std::shared_ptr<const std::string> file;  // PNG, JPEG, ...: decoded when it is computed
  std::string digest;                       // SHA-256 of it
  uint32_t chunk = 0;                       // of what libmtmd makes of the file
};

using PromptImages = std::map<TokenId, std::shared_ptr<const PromptImage>>;  // by place

// What stands in a prompt for one file: text around and between images, as the model wants it.
struct ImagePrompt {
  std::vector<TokenId> tokens;
  PromptImages images;
};

// A place in a text where an image belongs, which no text has by chance or on purpose; never the same one twice.
std::string new_image_mark();

// Text before and behind marks, in order. A mark's piece is the mark alone.
struct MarkedPiece {
  std::string_view text;
  bool is_mark = false;
};
std::vector<MarkedPiece> split_at_image_marks(std::string_view text);

inline bool is_image_place(TokenId id) { return id < 0; }

// The first image in `tokens` at or behind `from`: where it begins; tokens.size(): there is none.
inline size_t next_image(std::span<const TokenId> tokens, size_t from) {
  while (from < tokens.size() && !is_image_place(tokens[from])) ++from;
  return from;
}

// Whether every image in `tokens` is there as a whole, and one of `images`.
inline bool images_are_whole(std::span<const TokenId> tokens, const PromptImages& images) {
  for (size_t at = next_image(tokens, 0); at < tokens.size(); at = next_image(tokens, at)) {
    const auto image = images.find(tokens[at]);
    if (image == images.end() || image->second == nullptr || image->second->n_positions == 0) return false;
    const size_t end = at + image->second->n_positions;
    if (end > tokens.size()) return false;
    for (size_t i = at; i < end; ++i)
      if (tokens[i] != tokens[at]) return false;
    at = end;
  }
  return true;
}

// Tokens that the images in `tokens` take beyond their positions.
inline size_t surplus_tokens(std::span<const TokenId> tokens, const PromptImages& images) {
  size_t surplus = 0;
  for (size_t at = next_image(tokens, 0); at < tokens.size(); at = next_image(tokens, at)) {
    const auto image = images.find(tokens[at]);
    if (image == images.end()) break;
    surplus += saturating_sub(image->second->n_tokens, image->second->n_positions);
    at += image->second->n_positions;
  }
  return surplus;
}

// The beginning of `tokens`, at most `n` of them, that ends within no image. Equal images in a row count as one.
inline size_t cut_before_image(std::span<const TokenId> tokens, size_t n) {
  if (n >= tokens.size()) return tokens.size();
  while (n > 0 && is_image_place(tokens[n]) && tokens[n - 1] == tokens[n]) --n;
  return n;
}

}  // namespace spillway
