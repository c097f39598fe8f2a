// SPDX-License-Identifier: MIT
#include "cli/text_input.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "base/notice.h"
#include "os/home_folder.h"

namespace spillway {
namespace {

constexpr std::string_view kSeparators = ", \t\r\n[]";
constexpr int kSilentPipe_ms = 2000;
constexpr std::string_view kListCharacters = "0123456789-, \t\r\n[]";

Status file_error(const std::string& path) {
  const Code code = errno == ENOENT ? Code::kNotFound : errno == EACCES ? Code::kPermissionDenied : Code::kIo;
  return {code, fmt::format("{}: {}", path, std::strerror(errno))};
}

Result<std::string> read_stream(std::FILE* stream, const std::string& name, uint64_t bytes_max) {
  std::string text;
  char buffer[65536];
  size_t n = 0;
  while ((n = std::fread(buffer, 1, sizeof buffer, stream)) > 0) {
    text.append(buffer, n);
    if (text.size() > bytes_max)
      return error(Code::kInvalidArgument,
                   fmt::format("{}: is larger than {}, which is the most", name, format_bytes(bytes_max)));
  }
  if (std::ferror(stream) != 0) return Failure(file_error(name));
  return text;
}

}  // namespace

Result<std::string> read_text(const std::string& path, uint64_t bytes_max) {
  if (path == "-") return read_stream(stdin, "standard input", bytes_max);
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), std::fclose);
  if (file == nullptr) return Failure(file_error(path));
  return read_stream(file.get(), path, bytes_max);
}

Result<std::string> read_piped_text() {
  struct stat of {};
  if (::fstat(STDIN_FILENO, &of) != 0 || !(S_ISFIFO(of.st_mode) || S_ISREG(of.st_mode))) return std::string();
  // A pipe that somebody left open would have us wait without a word.
  pollfd readable{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
  if (S_ISFIFO(of.st_mode) && ::poll(&readable, 1, kSilentPipe_ms) == 0)
    notice("waiting for the end of standard input, which goes in front of --prompt; without it: </dev/null");
  return read_text("-");
}

std::string without_last_newline(std::string text) {
  if (text.ends_with('\n')) text.pop_back();
  if (text.ends_with('\r')) text.pop_back();
  return text;
}

Result<FileAndWords> split_file_and_words(const std::string& text,
                                          const std::function<bool(const std::string& path)>& is_file) {
  constexpr const char* kBlanks = " \t\n";
  const auto from = [&](size_t at) { return std::min(text.find_first_not_of(kBlanks, at), text.size()); };
  const size_t begin = from(0);
  if (begin == text.size()) return error(Code::kInvalidArgument, "/image wants a file, such as /image photo.jpg");
  const auto result = [&](std::string file, size_t end) {
    return FileAndWords{.file = below_home(std::move(file)), .words = text.substr(from(end))};
  };
  if (const char quote = text[begin]; quote == '"' || quote == '\'') {
    const size_t end = text.find(quote, begin + 1);
    if (end == std::string::npos) return error(Code::kInvalidArgument, "the quoted file name does not end");
    return result(text.substr(begin + 1, end - begin - 1), end + 1);
  }
  // From the longest beginning to the first word; a blank behind a backslash ends none.
  std::optional<FileAndWords> first;
  for (size_t end = text.size(); end > begin; --end) {
    const bool is_end = end == text.size() || std::strchr(kBlanks, text[end]) != nullptr;
    if (!is_end || text[end - 1] == '\\') continue;
    const std::string typed = text.substr(begin, end - begin);
    std::string file;
    for (size_t i = 0; i < typed.size(); ++i)
      if (typed[i] != '\\' || i + 1 == typed.size())
        file += typed[i];
      else
        file += typed[++i];
    if (auto plain = result(typed, end); is_file(plain.file)) return plain;
    first = result(file, end);
    if (is_file(first->file)) return *first;
  }
  return first ? *first : result(text.substr(begin), text.size());
}

Result<std::vector<TokenId>> parse_token_ids(std::string_view text) {
  std::vector<TokenId> ids;
  size_t at = 0;
  while ((at = text.find_first_not_of(kSeparators, at)) != std::string_view::npos) {
    const std::string_view word = text.substr(at, text.find_first_of(kSeparators, at) - at);
    TokenId id = 0;
    const auto [end, code] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (code != std::errc() || end != word.data() + word.size())
      return error(Code::kInvalidArgument,
                   fmt::format("'{:.40}' is not a token id; write for example 1,15043,29892", word));
    ids.push_back(id);
    at += word.size();
  }
  return ids;
}

Result<std::vector<TokenId>> read_token_ids(const std::string& list_or_path) {
  const bool is_list = list_or_path.find_first_not_of(kListCharacters) == std::string::npos && list_or_path != "-";
  if (is_list) return parse_token_ids(list_or_path);
  const auto text = read_text(list_or_path);
  if (!text && text.error().code() == Code::kNotFound)
    return error(Code::kNotFound,
                 fmt::format("'{}' is neither a list of token ids nor a file that holds one", list_or_path));
  if (!text) return Failure(text.error());
  auto ids = parse_token_ids(*text);
  if (!ids) return Failure(ids.error().with_context(list_or_path));
  return ids;
}

}  // namespace spillway
