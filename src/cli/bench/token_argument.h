// SPDX-License-Identifier: MIT
// Token ids as one word of a command line, however many they are. Linux takes no word of 128 KiB and more.
#pragma once

#include <cstdio>
#include <memory>
#include <span>
#include <string>

#include "base/status.h"
#include "engine/engine.h"

namespace spillway {

// A short list as it is; a long one as the name of a file that is there as long as this object, and goes with the
// process whatever ends it.
class TokenArgument {
 public:
  //   Io   a long one could not be written
  static Result<TokenArgument> make(std::span<const TokenId> ids);

  const std::string& word() const { return word_; }

 private:
  using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;
  TokenArgument(std::string word, File file) : word_(std::move(word)), file_(std::move(file)) {}

  std::string word_;
  File file_;
};

}  // namespace spillway
