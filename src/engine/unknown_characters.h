// SPDX-License-Identifier: MIT
// Characters that no token of a SentencePiece vocabulary contains are written byte by byte, and libllama makes room for
// the result anew at each of them: its time grows with their number times the length of the text, in a call that
// nothing stops. 68,000 of one that Gemma does not know took 1.4 s, 136,000 took 9.9 s. Thread-safe.
#pragma once

#include <llama.h>

#include <string_view>
#include <vector>

#include "base/status.h"

namespace spillway {

class UnknownCharacters {
 public:
  // Of other kinds of vocabulary: every text passes.
  explicit UnknownCharacters(const llama_vocab* vocab);

  //   InvalidArgument   libllama would take more than about two seconds for what they cost; the message counts them
  Result<void> check(std::string_view text) const;

 private:
  std::vector<bool> known_;  // by code point; empty: nothing is checked
};

}  // namespace spillway
