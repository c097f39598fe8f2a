// SPDX-License-Identifier: MIT
#include "engine/unknown_characters.h"

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>

#include "base/utf8_decoder.h"

namespace spillway {
namespace {

constexpr size_t kCodePoints = 0x110000;
// The sum, over the unknown characters, of the tokens in front of each: libllama copies those.
constexpr double kCopiesMax = 1e10;
constexpr double kTokensPerCharacter = 1.0 / 3;  // of known ones, about

// The character at the begin of `text`, which is not empty, and its bytes. A byte that begins none is one for itself,
// of no vocabulary.
struct Character {
  uint32_t code = UINT32_MAX;
  size_t bytes = 1;
};
Character first_of(std::string_view text) {
  Utf8Decoder decoder;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto took = decoder.take(static_cast<unsigned char>(text[i]));
    if (took == Utf8Decoder::Took::kInvalid) break;
    if (took == Utf8Decoder::Took::kCharacter) return {.code = decoder.value(), .bytes = i + 1};
  }
  return {};
}

}  // namespace

UnknownCharacters::UnknownCharacters(const llama_vocab* vocab) {
  if (llama_vocab_type(vocab) != LLAMA_VOCAB_TYPE_SPM) return;
  known_.resize(kCodePoints);
  for (llama_token id = 0; id < llama_vocab_n_tokens(vocab); ++id) {
    const char* token = llama_vocab_get_text(vocab, id);
    for (std::string_view text = token == nullptr ? "" : token; !text.empty();) {
      const Character character = first_of(text);
      if (character.code < kCodePoints) known_[character.code] = true;
      text.remove_prefix(character.bytes);
    }
  }
  known_[' '] = true;  // another stands for it
}

Result<void> UnknownCharacters::check(std::string_view text) const {
  if (known_.empty()) return {};
  uint64_t n_unknown = 0;
  double n_tokens = 0, n_copies = 0;
  for (size_t at = 0; at < text.size();) {
    const Character character = first_of(text.substr(at));
    const bool is_known = character.code < kCodePoints && known_[character.code];
    n_tokens += is_known ? kTokensPerCharacter : static_cast<double>(character.bytes);
    if (!is_known) ++n_unknown, n_copies += n_tokens;
    at += character.bytes;
  }
  if (n_copies <= kCopiesMax) return {};
  return error(Code::kInvalidArgument,
               fmt::format("the text has {} characters that this model's vocabulary lacks; its tokenizer would take "
                           "minutes for so many",
                           n_unknown));
}

}  // namespace spillway
