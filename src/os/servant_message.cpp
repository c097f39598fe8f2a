// SPDX-License-Identifier: MIT
#include "os/servant_message.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include "base/utf8.h"

namespace spillway {
namespace {

constexpr char kGood = 'K', kFailed = 'E';

}  // namespace

void take_bytes(std::string_view& from, void* to, size_t bytes) {
  if (from.size() >= bytes) std::memcpy(to, from.data(), bytes);
  from.remove_prefix(std::min(from.size(), bytes));
}

std::string answer_of(Result<std::string> result) {
  if (result) return std::move(result->insert(0, 1, kGood));
  std::string answer(1, kFailed);
  put_value(answer, static_cast<int32_t>(result.error().code()));
  return answer + result.error().message();
}

Result<std::string> result_of(std::string answer) {
  if (answer.starts_with(kGood)) return std::move(answer.erase(0, 1));
  std::string_view rest = answer;
  const char kind = take_value<char>(rest);
  const auto code = take_value<int32_t>(rest);
  const bool known = kind == kFailed && code >= 0 && code <= static_cast<int32_t>(Code::kInternal);
  return error(known ? static_cast<Code>(code) : Code::kInternal, shortened(rest));
}

}  // namespace spillway
