// SPDX-License-Identifier: MIT
#include "make_model/tokenizer.h"

#include <fmt/format.h>

#include <array>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "make_model/random.h"

namespace spillway::make_model {
namespace {

constexpr std::string_view kSpaceMark = "\xe2\x96\x81";  // U+2581, how SentencePiece writes a space
constexpr std::string_view kOnsets[] = {"b", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z"};
constexpr std::string_view kVowels[] = {"a", "e", "i", "o", "u"};
constexpr std::string_view kCodas[] = {"n", "r", "s", "l", "m", "k"};

class Builder {
 public:
  Builder(int64_t size, uint64_t seed) : size_(static_cast<size_t>(size)), random_(stream_seed(seed, "vocabulary")) {}

  void add(std::string piece, TokenType type, float score) {
    if (is_full() || !seen_.insert(piece).second) return;
    vocabulary_.pieces.push_back(std::move(piece));
    vocabulary_.types.push_back(type);
    vocabulary_.scores.push_back(score);
  }

  // SentencePiece merges the pair with the best score first, so what is built of less must come earlier.
  void add_piece(std::string piece) { add(std::move(piece), TokenType::kNormal, -static_cast<float>(merges_++)); }

  // Each with and without a space in front, in an order of the seed's choosing.
  void add_shuffled(std::vector<std::string> pieces) {
    for (size_t i = pieces.size(); i > 1; --i) std::swap(pieces[i - 1], pieces[random_.below(i)]);
    for (const std::string& piece : pieces) {
      if (is_full()) return;
      add_piece(piece);
      add_piece(std::string(kSpaceMark) + piece);
    }
  }

  bool is_full() const { return vocabulary_.pieces.size() >= size_; }
  Vocabulary take() { return std::move(vocabulary_); }

 private:
  const size_t size_;
  Random random_;
  Vocabulary vocabulary_;
  std::unordered_set<std::string> seen_;
  int64_t merges_ = 0;
};

std::vector<std::string> syllables() {
  std::vector<std::string> result;
  for (const auto onset : kOnsets) {
    for (const auto vowel : kVowels) result.push_back(fmt::format("{}{}", onset, vowel));
  }
  return result;
}

std::vector<std::string> closed(const std::vector<std::string>& open) {
  std::vector<std::string> result;
  for (const auto& syllable : open) {
    for (const auto coda : kCodas) result.push_back(fmt::format("{}{}", syllable, coda));
  }
  return result;
}

std::vector<std::string> followed_by(const std::vector<std::string>& heads, const std::vector<std::string>& tails) {
  std::vector<std::string> result;
  result.reserve(heads.size() * tails.size());
  for (const auto& head : heads) {
    for (const auto& tail : tails) result.push_back(head + tail);
  }
  return result;
}

}  // namespace

Vocabulary make_vocabulary(int64_t size, uint64_t seed) {
  Builder builder(size, seed);
  builder.add("<unk>", TokenType::kUnknown, 0);
  builder.add("<s>", TokenType::kControl, 0);
  builder.add("</s>", TokenType::kControl, 0);
  builder.add("<|im_start|>", TokenType::kControl, 0);
  builder.add("<|im_end|>", TokenType::kControl, 0);
  for (int byte = 0; byte < 256; ++byte) builder.add(fmt::format("<0x{:02X}>", byte), TokenType::kByte, 0);

  builder.add_piece(std::string(kSpaceMark));
  for (char c = '!'; c <= '~'; ++c) builder.add_piece(std::string(1, c));
  const std::vector<std::string> open = syllables();  // 80
  builder.add_shuffled(open);
  builder.add_shuffled(closed(open));                                             // 480
  builder.add_shuffled(followed_by(open, open));                                  // 6 400
  if (!builder.is_full()) builder.add_shuffled(followed_by(open, closed(open)));  // 38 400
  // Three syllables and more only for the largest vocabularies; one list per first syllable keeps memory small.
  std::vector<std::string> tails = followed_by(open, open);
  while (!builder.is_full()) {
    for (size_t i = 0; i < open.size() && !builder.is_full(); ++i) {
      builder.add_shuffled(followed_by({open[i]}, tails));
    }
    for (std::string& tail : tails) tail += open[0];
  }
  return builder.take();
}

const char* const kChatTemplate =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + "
    "'\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

}  // namespace spillway::make_model
