// SPDX-License-Identifier: MIT
// Any text as a JSON schema: refused in one line, or a grammar that can be read and whose rules are all there. The same
// as a tool's parameters, in every format of calls.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "../chat/sample_formats.h"
#include "base/check.h"
#include "chat/answer_grammar.h"
#include "chat/grammar.h"
#include "grammar/grammar_automaton.h"

namespace spillway {
namespace {

// Read as an answer under it will be. What is written out may be larger than is taken.
void check_grammar(const std::string& text) {
  CHECK(text.size() < (16u << 20));
  const auto grammar = Grammar::parse(text);
  CHECK(grammar || grammar.error().message().find("too large") != std::string::npos ||
        grammar.error().message().find("larger than") != std::string::npos);
  if (grammar) (void)GrammarAutomaton::try_out(*grammar, {});
}

}  // namespace
}  // namespace spillway

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  using namespace spillway;
  const std::string schema(reinterpret_cast<const char*>(data), bytes);
  const auto grammar = grammar_of_schema(schema);
  if (grammar) {
    check_grammar(*grammar);
  } else {
    CHECK(!grammar.error().message().empty());
    CHECK(grammar.error().message().find('\n') == std::string::npos);
  }
  const Tool tools[] = {{.name = "find", .parameters = schema}, {.name = "list"}};
  static const auto kFormats = sample_formats();
  const OutputFormat& format = kFormats[1 + bytes % (kFormats.size() - 1)].second;
  const auto calls = grammar_of_calls(format, tools, bytes % 2 == 0);
  CHECK(calls || calls.error().code() == Code::kInvalidArgument);
  if (calls) check_grammar(*calls);
  const auto json = grammar_of_json_answer({.harmony = true}, schema);
  CHECK(json.has_value() == grammar.has_value());
  return 0;
}
