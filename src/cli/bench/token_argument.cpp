// SPDX-License-Identifier: MIT
#include "cli/bench/token_argument.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "cli/bench/bench_tokens.h"

namespace spillway {
namespace {

// Far from the kernel's 128 KiB.
constexpr size_t kWordBytesMax = 64 << 10;

}  // namespace

Result<TokenArgument> TokenArgument::make(std::span<const TokenId> ids) {
  std::string list = token_list({ids.begin(), ids.end()});
  if (list.size() <= kWordBytesMax) return TokenArgument(std::move(list), {nullptr, std::fclose});
  File file(std::tmpfile(), std::fclose);
  if (file == nullptr || std::fwrite(list.data(), 1, list.size(), file.get()) != list.size() ||
      std::fflush(file.get()) != 0)
    return error(Code::kIo, fmt::format("a temporary file for {} token ids: {}", ids.size(), std::strerror(errno)));
  // It has no name of its own.
  std::string name = fmt::format("/proc/{}/fd/{}", ::getpid(), ::fileno(file.get()));
  return TokenArgument(std::move(name), std::move(file));
}

}  // namespace spillway
