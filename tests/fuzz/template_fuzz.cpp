// SPDX-License-Identifier: MIT
// Any text as a chat template: it renders, or fails within its limits.
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/check.h"
#include "chat/jinja.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  using namespace spillway;
  const std::string text(reinterpret_cast<const char*>(data), bytes);
  // Little memory: what runs within one call of C cannot be interrupted, and is as long as its texts.
  const auto jinja = Jinja::parse(text, {.seconds_max = 1, .memory_bytes_max = 8 << 20});
  if (!jinja) {
    CHECK(!jinja.error().message().empty());
    return 0;
  }
  const auto rendered = (*jinja)->render(
      R"({"messages":[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"u"}]},)"
      R"({"role":"assistant","content":"a","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":{"k":1}}}]}],)"
      R"("tools":[{"type":"function","function":{"name":"f","parameters":{}}}],"add_generation_prompt":true,"bos_token":"<s>"})",
      0);
  CHECK(rendered || !rendered.error().message().empty());
  return 0;
}
