// SPDX-License-Identifier: MIT
// Reads the calls of one format from where their mark begins. Pure.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "chat/message.h"
#include "chat/output_format.h"

namespace spillway {

// What begins a call.
struct CallMark {
  std::string text;
  bool at_start = false;  // only where nothing but blanks and calls stand before it
};

struct CallAttempt {
  enum Outcome {
    kMore,  // the text ends before this can be known
    kCalls,
    kNone
  };
  Outcome outcome = kNone;
  size_t consumed = 0;  // with kCalls
  std::vector<ToolCall> calls = {};
};

class CallReader {
 public:
  // `tools` must outlive it.
  CallReader(CallFormat format, std::span<const Tool> tools);

  const std::vector<CallMark>& marks() const { return marks_; }

  // What may stand between and behind calls, apart from blanks, and says nothing.
  const std::vector<std::string>& fillers() const { return fillers_; }

  // `text` begins with one of the marks.
  CallAttempt read(std::string_view text) const;

 private:
  CallAttempt read_json(std::string_view text) const;
  CallAttempt read_mistral(std::string_view text) const;
  CallAttempt read_deepseek(std::string_view text) const;
  CallAttempt read_xml(std::string_view text) const;
  CallAttempt read_glm(std::string_view text) const;

  CallAttempt attempt(size_t consumed, std::vector<ToolCall> calls) const;
  CallAttempt one_call(size_t consumed, std::string name, std::string_view arguments) const;
  bool is_offered(std::string_view name) const;
  std::string argument_json(const std::string& function, const std::string& key, std::string_view value) const;

  const CallFormat format_;
  const std::span<const Tool> tools_;
  std::vector<CallMark> marks_;
  std::vector<std::string> fillers_;
};

// The calls that a JSON value holds in any of the usual spellings: an object with name and arguments (or parameters),
// such a one under "function", lists of them, also under "tool_calls". Empty: none, or not only calls.
std::vector<ToolCall> calls_of_json(std::string_view json);

}  // namespace spillway
