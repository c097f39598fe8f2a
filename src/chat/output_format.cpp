// SPDX-License-Identifier: MIT
#include "chat/output_format.h"

#include <array>
#include <utility>

namespace spillway {
namespace {

bool has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

// From the most to the least telling mark.
CallFormat call_format_of(std::string_view text) {
  if (has(text, "<|channel|>")) return CallFormat::kHarmony;
  if (has(text, "<｜tool▁call▁begin｜>"))
    return has(text, "```json") ? CallFormat::kDeepSeekR1 : CallFormat::kDeepSeekV31;
  if (has(text, "[TOOL_CALLS]")) return CallFormat::kMistral;
  if (has(text, "<arg_key>")) return CallFormat::kGlm;
  if (has(text, "<function=") && has(text, "<parameter=")) return CallFormat::kQwenXml;
  if (has(text, "<tool_call>")) return CallFormat::kHermes;
  if (has(text, "<|python_tag|>") || has(text, "<|start_header_id|>")) return CallFormat::kLlama3;
  return CallFormat::kJson;
}

}  // namespace

const char* call_format_name(CallFormat format) {
  switch (format) {
    case CallFormat::kNone:
      return "none";
    case CallFormat::kJson:
      return "json";
    case CallFormat::kHermes:
      return "hermes";
    case CallFormat::kQwenXml:
      return "qwen-xml";
    case CallFormat::kLlama3:
      return "llama3";
    case CallFormat::kMistral:
      return "mistral";
    case CallFormat::kHarmony:
      return "harmony";
    case CallFormat::kDeepSeekR1:
      return "deepseek-r1";
    case CallFormat::kDeepSeekV31:
      return "deepseek-v3.1";
    case CallFormat::kGlm:
      return "glm";
  }
  return "?";
}

OutputFormat detect_output_format(std::string_view template_text) {
  using Marks = std::pair<const char*, const char*>;
  static constexpr std::array<Marks, 5> kThoughts{{{"<think>", "</think>"},
                                                   {"[THINK]", "[/THINK]"},
                                                   {"<|START_THINKING|>", "<|END_THINKING|>"},
                                                   {"<seed:think>", "</seed:think>"},
                                                   {"<thinking>", "</thinking>"}}};
  OutputFormat format{call_format_of(template_text), "", ""};
  if (format.calls == CallFormat::kHarmony) return format;
  for (const auto& [begin, end] : kThoughts)
    if (has(template_text, end)) {
      format.think_begin = begin;
      format.think_end = end;
      break;
    }
  return format;
}

}  // namespace spillway
