// SPDX-License-Identifier: MIT
// A conversation as every protocol sees it: messages, tools, and calls of tools. Plain values; JSON stays text here, so
// that the order of keys and the spelling of numbers survive from the client to the prompt and back.
#pragma once

#include <memory>
#include <string>
#include <vector>

namespace spillway {

struct ToolCall {
  std::string id = {};           // as the client or the parser named it; may be empty
  std::string name = {};         // of the function
  std::string arguments = "{}";  // JSON text of an object
};

// An image where a mark stands in a message's content. How it enters the prompt is the caller's affair.
struct MessageImage {
  std::string mark = {};
  std::string media = {};  // "image/png", where the client says it
  std::string data = {};   // as the client sent it: base64, or a URL
  std::string place = {};  // where the client's request has it, as its protocol says that; may be empty
  std::shared_ptr<const std::string> file = {};  // its bytes, where they are at hand instead of `data`
};

struct Message {
  std::string role = {};  // "system", "user", "assistant", "tool"
  std::string content = {};
  std::string thinking = {};              // what an assistant thought before it answered
  std::vector<ToolCall> tool_calls = {};  // of an assistant
  std::string tool_name = {};             // of a tool's answer: which function
  std::string tool_call_id = {};          // and which call
  std::vector<MessageImage> images = {};  // whose marks stand in `content`
};

struct Tool {
  std::string name = {};
  std::string description = {};
  std::string parameters = "{}";  // JSON schema of the arguments, as text
  // Prompts list it. Not so a tool that the conversation adds later: so what comes before stays the same.
  bool in_prompt = true;
  // The model may call it now. Not so a tool that a choice leaves out, or that was taken away: it stays where it is
  // shown, and a call of it is text.
  bool callable = true;
};

}  // namespace spillway
