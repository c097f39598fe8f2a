// SPDX-License-Identifier: MIT
#include "engine/marked_text.h"

#include <fmt/format.h>

#include <utility>

namespace spillway {

Result<void> MarkedImages::add(const Engine& engine, const std::string& mark, std::shared_ptr<const std::string> file) {
  ASSIGN_OR_RETURN(ImagePrompt prompt, engine.inspect_image(std::move(file)));
  by_mark_[mark] = std::move(prompt.tokens);
  images_.merge(prompt.images);
  return {};
}

Result<std::vector<TokenId>> MarkedImages::tokenize(const Engine& engine, const std::string& text, bool add_special,
                                                    bool parse_special) const {
  if (empty()) return engine.tokenize(text, add_special, parse_special);
  std::vector<TokenId> tokens;
  bool begins = true;
  for (const MarkedPiece& piece : split_at_image_marks(text)) {
    const auto image = piece.is_mark ? by_mark_.find(piece.text) : by_mark_.end();
    const bool is_image = image != by_mark_.end();
    if (!is_image || begins) {
      // What a text begins with stands in front of an image, too.
      ASSIGN_OR_RETURN(const auto more, engine.tokenize(is_image ? std::string() : std::string(piece.text),
                                                        add_special && begins, parse_special));
      tokens.insert(tokens.end(), more.begin(), more.end());
    }
    if (is_image) tokens.insert(tokens.end(), image->second.begin(), image->second.end());
    begins = false;
  }
  return tokens;
}

bool MarkedImages::all_in(const std::string& text) const {
  std::map<std::string_view, size_t> n_of;
  for (const MarkedPiece& piece : split_at_image_marks(text))
    if (piece.is_mark) ++n_of[piece.text];
  for (const auto& [mark, tokens] : by_mark_)
    if (n_of[mark] != 1) return false;
  return true;
}

std::string MarkedImages::readable(const std::string& text) {
  std::string shown;
  size_t n = 0;
  for (const MarkedPiece& piece : split_at_image_marks(text))
    shown += piece.is_mark ? fmt::format("[img-{}]", n++) : std::string(piece.text);
  return shown;
}

}  // namespace spillway
