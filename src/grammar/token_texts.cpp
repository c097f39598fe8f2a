// SPDX-License-Identifier: MIT
#include "grammar/token_texts.h"

#include <algorithm>
#include <optional>
#include <tuple>

namespace spillway {
namespace {

struct Decoded {
  std::u32string characters;
  Utf8Decoder rest;
  int32_t token;
};

// nullopt: no text of UTF-8 begins so.
std::optional<Decoded> decode(const std::string& text, int32_t token) {
  Decoded decoded{{}, {}, token};
  for (const char c : text) {
    const auto took = decoded.rest.take(static_cast<unsigned char>(c));
    if (took == Utf8Decoder::Took::kInvalid) return std::nullopt;
    if (took == Utf8Decoder::Took::kCharacter) decoded.characters += decoded.rest.value();
  }
  return decoded;
}

}  // namespace

TokenTexts::TokenTexts(std::vector<std::string> texts) : texts_(std::move(texts)) {
  std::vector<Decoded> all;
  for (size_t id = 0; id < texts_.size(); ++id) {
    if (texts_[id].empty()) continue;
    const auto token = static_cast<int32_t>(id);
    if ((static_cast<unsigned char>(texts_[id][0]) & 0xC0u) == 0x80u)
      continuing_.push_back(token);
    else if (auto decoded = decode(texts_[id], token))
      all.push_back(std::move(*decoded));
  }
  std::sort(all.begin(), all.end(), [](const Decoded& a, const Decoded& b) {
    return std::tie(a.characters, a.token) < std::tie(b.characters, b.token);
  });
  const auto add_node = [&](char32_t c, size_t depth) {
    nodes_.push_back({c, static_cast<uint32_t>(depth), 0, static_cast<uint32_t>(order_.size()),
                      static_cast<uint32_t>(parts_.size())});
  };
  std::vector<uint32_t> path = {0};  // the nodes from the root to the last text
  add_node(0, 0);
  const std::u32string* before = nullptr;
  for (const Decoded& one : all) {
    size_t shared = 0;
    if (before != nullptr)
      shared = static_cast<size_t>(
          std::mismatch(before->begin(), before->end(), one.characters.begin(), one.characters.end()).first -
          before->begin());
    for (; path.size() > shared + 1; path.pop_back()) nodes_[path.back()].after = static_cast<uint32_t>(nodes_.size());
    for (size_t i = shared; i < one.characters.size(); ++i) {
      path.push_back(static_cast<uint32_t>(nodes_.size()));
      add_node(one.characters[i], i + 1);
    }
    if (one.rest.is_within())
      parts_.push_back({one.token, one.rest.first(), one.rest.last()});
    else
      order_.push_back(one.token);
    before = &one.characters;
  }
  for (; !path.empty(); path.pop_back()) nodes_[path.back()].after = static_cast<uint32_t>(nodes_.size());
  add_node(0, 0);
}

}  // namespace spillway
