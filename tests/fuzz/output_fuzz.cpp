// SPDX-License-Identifier: MIT
// Anything as a model's answer, in any format: the parser says the same whether the answer comes at once or in pieces,
// every call is of a tool that was offered and has an object as its arguments, and text without marks is text.
//
// The first three bytes say how: format and options, and where the pieces end.
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>

#include "../chat/sample_formats.h"
#include "base/check.h"
#include "chat/json_text.h"
#include "chat/output_parser.h"

namespace spillway {
namespace {

ParserOptions options_of(uint8_t how, uint8_t more) {
  ParserOptions options;
  static const auto kFormats = sample_formats();
  options.format = kFormats[how % kFormats.size()].second;
  if ((more & 1u) != 0) options.format.think_begin = "<think>", options.format.think_end = "</think>";
  options.starts_in_thinking = (more & 3u) == 3;
  if ((more & 4u) == 0)
    options.tools = {{.name = "find", .parameters = R"({"properties":{"text":{"type":"string"},"n":{}}})"},
                     {.name = "list", .parameters = "no schema"}};
  return options;
}

void add(OutputDelta& sum, OutputDelta delta) {
  sum.content += delta.content;
  sum.thinking += delta.thinking;
  for (ToolCall& call : delta.tool_calls) sum.tool_calls.push_back(std::move(call));
}

template <typename NextSize>
OutputDelta parse(const ParserOptions& options, std::string_view text, const NextSize& next_size) {
  const auto parser = OutputParser::make(options);
  OutputDelta sum;
  while (!text.empty()) {
    const size_t size = std::min(text.size(), next_size());
    add(sum, parser->push(text.substr(0, size)));
    text.remove_prefix(size);
  }
  add(sum, parser->finish());
  return sum;
}

}  // namespace
}  // namespace spillway

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  using namespace spillway;
  if (bytes < 3) return 0;
  const ParserOptions options = options_of(data[0], data[1]);
  const std::string_view text(reinterpret_cast<const char*>(data) + 3, bytes - 3);
  const OutputDelta whole = parse(options, text, [&] { return text.size(); });
  std::minstd_rand random(data[2] + 1u);
  const OutputDelta pieces = parse(options, text, [&] { return size_t{1} + random() % 12; });
  CHECK(pieces.content == whole.content && pieces.thinking == whole.thinking);
  CHECK(pieces.tool_calls.size() == whole.tool_calls.size());
  for (size_t i = 0; i < whole.tool_calls.size(); ++i) {
    const ToolCall& call = whole.tool_calls[i];
    CHECK(pieces.tool_calls[i].name == call.name && pieces.tool_calls[i].arguments == call.arguments);
    CHECK(call.name == "find" || call.name == "list");
    CHECK(is_json_object(call.arguments));
  }
  CHECK(options.tools.empty() ? whole.tool_calls.empty() : true);
  if (text.find_first_of("<[{`") == std::string_view::npos && !options.starts_in_thinking && !options.format.harmony &&
      options.format.text_begin.empty())
    CHECK(whole.content == text);
  return 0;
}

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t bytes, size_t bytes_max);

// Marks are long: random bytes do not find them.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t bytes, size_t bytes_max, unsigned seed) {
  static constexpr const char* kMarks[] = {"<think>",
                                           "</think>",
                                           "<tool_call>",
                                           "</tool_call>",
                                           "<function=find>",
                                           "</function>",
                                           "<parameter=text>",
                                           "</parameter>",
                                           "<arg_key>",
                                           "</arg_key>",
                                           "<arg_value>",
                                           "</arg_value>",
                                           "[TOOL_CALLS]",
                                           "[ARGS]",
                                           "[CALL_ID]",
                                           "<|python_tag|>",
                                           "<|channel|>",
                                           "<|message|>",
                                           "<|end|>",
                                           "<|start|>",
                                           "<|call|>",
                                           "analysis",
                                           "commentary",
                                           "to=functions.find",
                                           "<｜tool▁calls▁begin｜>",
                                           "<｜tool▁call▁begin｜>",
                                           "<｜tool▁sep｜>",
                                           "<｜tool▁call▁end｜>",
                                           "<｜tool▁calls▁end｜>",
                                           "```json\n",
                                           "```",
                                           "find",
                                           "{\"name\": \"find\", \"arguments\": {}}",
                                           "\"parameters\": {"};
  std::minstd_rand random(seed);
  for (size_t n = random() % 4; n > 0; --n) {
    const std::string_view mark = kMarks[random() % std::size(kMarks)];
    if (bytes < 3 || bytes + mark.size() > bytes_max) break;
    const size_t at = 3 + random() % (bytes - 2);
    std::copy_backward(data + at, data + bytes, data + bytes + mark.size());
    std::copy(mark.begin(), mark.end(), data + at);
    bytes += mark.size();
  }
  return LLVMFuzzerMutate(data, bytes, bytes_max);
}
