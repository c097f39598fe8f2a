// SPDX-License-Identifier: MIT
// How a model marks thoughts and tool calls in the text it writes. Known from its chat template, which shows the model
// the same marks. Pure values.
#pragma once

#include <string>
#include <string_view>

namespace spillway {

enum class CallFormat {
  kNone,     // calls are not recognised
  kJson,     // a JSON object with name and arguments (or parameters), alone, listed, or in a ```json block
  kHermes,   // <tool_call>{"name": …, "arguments": …}</tool_call>            Hermes, Qwen 2.5 and 3, many others
  kQwenXml,  // <tool_call><function=NAME><parameter=KEY>VALUE</parameter>…    Qwen3-Coder
  kLlama3,   // {"name": …, "parameters": …} as the whole answer, perhaps behind <|python_tag|>
  kMistral,  // [TOOL_CALLS][{…}, …]; newer: [TOOL_CALLS]NAME[ARGS]{…}
  kHarmony,  // <|channel|>commentary to=functions.NAME …<|message|>{…}<|call|>   gpt-oss
  kDeepSeekR1,  // <｜tool▁call▁begin｜>function<｜tool▁sep｜>NAME\n```json\n{…}\n```<｜tool▁call▁end｜>   R1, V3
  kDeepSeekV31,  // <｜tool▁call▁begin｜>NAME<｜tool▁sep｜>{…}<｜tool▁call▁end｜>
  kGlm,  // <tool_call>NAME\n<arg_key>KEY</arg_key>\n<arg_value>VALUE</arg_value>…</tool_call>   GLM 4.5 and later
};
const char* call_format_name(CallFormat format);

struct OutputFormat {
  CallFormat calls = CallFormat::kJson;
  // Around thoughts; empty where the format has none, or (Harmony) its own.
  std::string think_begin = "<think>", think_end = "</think>";

  friend bool operator==(const OutputFormat&, const OutputFormat&) = default;
};

// The format that a chat template teaches; kJson where it names no known marks.
OutputFormat detect_output_format(std::string_view template_text);

}  // namespace spillway
