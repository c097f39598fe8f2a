// SPDX-License-Identifier: MIT
// A generated SentencePiece vocabulary: control tokens, the 256 bytes, and pronounceable pieces. Any UTF-8 text goes
// in, and what a meaningless model says comes out as text one can read aloud.
//
//   0 <unk>  1 <s>  2 </s>  3 <|im_start|>  4 <|im_end|>  5..260 <0x00>..<0xFF>  261.. pieces, most mergeable first
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace spillway::make_model {

// llama_token_type as stored in tokenizer.ggml.token_type.
enum class TokenType : int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kByte = 6 };

struct Vocabulary {
  std::vector<std::string> pieces;
  std::vector<float> scores;  // higher merges first
  std::vector<TokenType> types;
};

inline constexpr uint32_t kTokenUnknown = 0;
inline constexpr uint32_t kTokenBos = 1;
inline constexpr uint32_t kTokenEos = 2;
inline constexpr uint32_t kTokenEndOfTurn = 4;
inline constexpr int64_t kFirstPiece = 261;

// Room for every printable ASCII character and the space mark: with less, plain text would fall back to bytes.
inline constexpr int64_t kVocabMin = kFirstPiece + 95;

// Exactly `size` tokens, all distinct; size >= kVocabMin.
Vocabulary make_vocabulary(int64_t size, uint64_t seed);

// ChatML, in the form that libllama's own template detection knows.
extern const char* const kChatTemplate;

}  // namespace spillway::make_model
