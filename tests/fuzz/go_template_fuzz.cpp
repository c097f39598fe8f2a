// SPDX-License-Identifier: MIT
// Any text as a template of Ollama's kind (Go's text/template): it renders a conversation, fills in a gap, or fails
// within its limits.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/check.h"
#include "chat/template_program.h"

namespace spillway {
namespace {

constexpr uint64_t kPromptBytesMax = 1 << 20;

void check_rendered(const Result<std::string>& rendered) {
  if (rendered)
    CHECK(rendered->size() <= kPromptBytesMax);
  else
    CHECK(!rendered.error().message().empty() && rendered.error().message().find('\n') == std::string::npos);
}

}  // namespace
}  // namespace spillway

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  using namespace spillway;
  TemplateOptions options;
  options.text.assign(reinterpret_cast<const char*>(data), bytes);
  options.limits = {.render_s_max = 1, .prompt_bytes_max = kPromptBytesMax};
  const auto program = open_go_program(options);
  if (!program) {
    CHECK(!program.error().message().empty());
    return 0;
  }
  static const std::vector<Message> kMessages = {
      {.role = "system", .content = "s"},
      {.role = "user", .content = "u"},
      {.role = "assistant", .content = "a", .thinking = "t", .tool_calls = {{"c", "find", R"({"n":[1,{"k":"v"}]})"}}},
      {.role = "tool", .content = "r", .tool_name = "find", .tool_call_id = "c"},
      {.role = "user", .content = "v"}};
  static const std::vector<Tool> kTools = {{.name = "find", .parameters = R"({"properties":{"n":{"type":"array"}}})"}};
  check_rendered((*program)->render(kMessages, kTools, {.think = true, .now = 0}, {}));
  check_rendered((*program)->render(kMessages, {}, {.suffix = "behind", .now = 0}, {}));
  return 0;
}
