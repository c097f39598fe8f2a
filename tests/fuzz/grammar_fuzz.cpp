// SPDX-License-Identifier: MIT
// Any text as a grammar, and any text under it: read or refused in bounded time, and what it admits token by token is
// what it admits of each token alone.
//
// An input is a grammar, a zero byte, and text.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "grammar/token_grammar.h"

namespace spillway {
namespace {

std::shared_ptr<const TokenTexts> texts() {
  static const auto made = [] {
    std::vector<std::string> all = {
        "", "ab", "abc", "\"", "{\"", "\": ", "\xc3", "\xa9", "\xe2\x82", "\xf0\x9f", "  ", "\n\n"};
    for (int c = 0; c < 256; ++c) all.emplace_back(1, static_cast<char>(c));
    return std::make_shared<const TokenTexts>(std::move(all));
  }();
  return made;
}

void follow(const std::shared_ptr<const Grammar>& grammar, std::string_view text) {
  TokenGrammar::Limits limits;
  limits.work_reserve = 200'000;
  limits.work_per_token = 20'000;
  TokenGrammar tokens(grammar, texts(), limits);
  for (const char c : text.substr(0, 100)) {
    const auto mask = tokens.admitted();
    if (!mask) return;
    const std::vector<bool> admitted = **mask;
    for (int32_t id = 0; id < static_cast<int32_t>(admitted.size()); ++id) {
      const auto alone = tokens.admits(id);
      if (!alone) return;
      CHECK(*alone == admitted[static_cast<size_t>(id)]);
    }
    const int32_t id = 12 + static_cast<unsigned char>(c);
    const auto accepted = tokens.accept(id);
    CHECK(accepted || !admitted[static_cast<size_t>(id)] || accepted.error().code() == Code::kOutOfBudget);
    if (!accepted) return;
  }
}

}  // namespace
}  // namespace spillway

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  using namespace spillway;
  const std::string_view input(reinterpret_cast<const char*>(data), bytes);
  const size_t end = std::min(input.find('\0'), input.size());
  const auto grammar = Grammar::parse(input.substr(0, end), [](std::string_view) { return std::optional<int32_t>(3); });
  if (!grammar) {
    CHECK(grammar.error().code() == Code::kInvalidArgument && !grammar.error().message().empty());
    return 0;
  }
  const auto tried = GrammarAutomaton::try_out(*grammar, {});
  CHECK(tried || tried.error().code() == Code::kInvalidArgument);
  follow(*grammar, input.substr(std::min(end + 1, input.size())));
  return 0;
}
