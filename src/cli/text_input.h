// SPDX-License-Identifier: MIT
// Reads what the user hands in: whole files, standard input, lists of token ids.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "engine/engine.h"

namespace spillway {

// Of a prompt, an image or a list of tokens, as the server takes a body.
inline constexpr uint64_t kInputBytesMax = 64 * MiB;

// All of a file, or of standard input for "-".
//   NotFound  PermissionDenied  Io   the message names the path
//   InvalidArgument                  it is larger than `bytes_max`, or has no end
Result<std::string> read_text(const std::string& path, uint64_t bytes_max = kInputBytesMax);

// What was piped or redirected into the program; empty from a terminal, or where there is nothing of the kind.
//   Io  InvalidArgument
Result<std::string> read_piped_text();

// One newline at the end is the editor's or the shell's, not the prompt's.
std::string without_last_newline(std::string text);

// A file and what stands behind it, as people type and terminals paste: `photo.jpg what is it?`, `"my photo.jpg" what`,
// `my\ photo.jpg`, `~/photo.jpg`. Without quotes, the longest beginning that `is_file` is the file, else the first
// word.
struct FileAndWords {
  std::string file, words;
};
//   InvalidArgument   there is none; a quote that does not end
Result<FileAndWords> split_file_and_words(const std::string& text,
                                          const std::function<bool(const std::string& path)>& is_file);

// "1, 2 3", "[1,2,3]": separated by commas, blanks or lines; brackets are ignored.
//   InvalidArgument   anything else in it
Result<std::vector<TokenId>> parse_token_ids(std::string_view text);

// A list as above, or the name of a file that holds one.
Result<std::vector<TokenId>> read_token_ids(const std::string& list_or_path);

}  // namespace spillway
