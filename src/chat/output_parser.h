// SPDX-License-Identifier: MIT
// Takes a model's answer apart while it is written: into text for the reader, thoughts, and calls of tools.
//
// The text must hold special tokens as text (Engine::token_text with special = true): they are the marks. Nothing is
// passed on that could still turn out to be markup, and nothing is held back longer than that. What looks like a call
// and is none (no JSON, cut short, a tool that nobody offered) is content.
//
// Threads: one at a time. Pure.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "chat/message.h"
#include "chat/output_format.h"

namespace spillway {

struct ParserOptions {
  OutputFormat format = {};
  bool starts_in_thinking = false;  // Prompt::opens_thinking
  bool starts_in_answer = false;    // Prompt::within_answer
  bool skips_first_blanks = false;  // ChatForm::plain
  // The tools that were offered. Without any no calls are looked for, and the marks of calls are content. Calls of
  // other names are content too.
  std::vector<Tool> tools = {};
  bool calls_are_forced = false;  // a grammar admits nothing but calls
};

// What became certain. Any part may be empty.
struct OutputDelta {
  std::string content;
  std::string thinking;
  std::vector<ToolCall> tool_calls;  // whole calls, in order; ids are empty

  bool empty() const { return content.empty() && thinking.empty() && tool_calls.empty(); }
};

class OutputParser {
 public:
  static std::unique_ptr<OutputParser> make(ParserOptions options);
  virtual ~OutputParser() = default;

  // The next piece of the answer, of any length; it may end within a character or a mark.
  virtual OutputDelta push(std::string_view piece) = 0;

  // The answer ended. What was held back is passed on, but for half a call where the answer was cut in it: its markup
  // says nothing to a reader. No push() after it.
  virtual OutputDelta finish(bool cut = false) = 0;

  // The last thing of the answer was a whole call.
  virtual bool ends_with_call() const = 0;

  // Thinking goes on: nothing of the answer itself was seen yet. A grammar for the answer begins when this ends.
  virtual bool in_thinking() const = 0;
};

}  // namespace spillway
