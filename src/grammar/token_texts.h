// SPDX-License-Identifier: MIT
// The texts of a model's tokens, arranged so that those that begin alike are next to each other: a tree of characters
// in the order in which it is walked. Made once per model. Constant, any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/utf8_decoder.h"

namespace spillway {

class TokenTexts {
 public:
  struct Node {
    char32_t character;
    uint32_t depth;         // characters so far, this one included
    uint32_t after;         // the node behind this one and all that begins with it
    uint32_t tokens_begin;  // of order(): tokens that end here; up to that of the next node
    uint32_t parts_begin;   // of parts(): likewise those that end within the next character
  };
  // A token that ends within a character, which first..last may come of.
  struct Part {
    int32_t token;
    char32_t first, last;
  };

  // texts[id]: the text of a token; empty for those that stand for no text.
  explicit TokenTexts(std::vector<std::string> texts);

  size_t size() const { return texts_.size(); }
  const std::string& text(int32_t token) const { return texts_[static_cast<size_t>(token)]; }
  // The first one is the root, which has no character; behind the last one is one more that ends the lists.
  std::span<const Node> nodes() const { return nodes_; }
  const std::vector<int32_t>& order() const { return order_; }
  const std::vector<Part>& parts() const { return parts_; }
  // Those that begin with the rest of a character.
  const std::vector<int32_t>& continuing() const { return continuing_; }

 private:
  std::vector<std::string> texts_;
  std::vector<Node> nodes_;
  std::vector<int32_t> order_;
  std::vector<Part> parts_;
  std::vector<int32_t> continuing_;
};

}  // namespace spillway
