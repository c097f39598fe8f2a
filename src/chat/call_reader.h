// SPDX-License-Identifier: MIT
// Reads calls of one syntax from where their mark begins, in text that a model is still writing. Models do not copy
// their template to the byte: blanks between marks are as they come, and what is around a call may be missing.
//
// Threads: one at a time.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "chat/argument_schema.h"
#include "chat/call_syntax.h"
#include "chat/message.h"

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
  bool is_call = false;  // with kMore: marks and the name of a tool stand there; it can be nothing else
};

class CallReader {
 public:
  // nullopt, or no tools: there are no marks. `tools` must outlive it.
  CallReader(std::optional<CallSyntax> syntax, std::span<const Tool> tools);

  const std::vector<CallMark>& marks() const { return marks_; }

  // `text` begins with one of the marks.
  CallAttempt read(std::string_view text) const { return read_behind(text, nullptr); }

  // `text` follows a call of the function `last`.
  CallAttempt read_next(std::string_view text, const std::string& last) const { return read_behind(text, &last); }

  // How much of `text`, which follows a call of `last`, belongs to calls and says nothing. nullopt: the text ends too
  // early. `ended`: nothing comes any more.
  std::optional<size_t> rest_of_calls(std::string_view text, const std::string& last, bool ended) const;

 private:
  CallAttempt read_behind(std::string_view text, const std::string* last) const;
  void add_marks();
  CallAttempt one_of_json(std::string_view text, size_t at) const;

  std::optional<CallSyntax> syntax_;
  const std::span<const Tool> tools_;
  // A call is read again with each piece of it that comes.
  mutable ArgumentSchemas schemas_;
  std::string lead_;                 // in front of the first placeholder, or of the call's JSON
  std::vector<size_t> lead_starts_;  // where in it a text may begin
  std::vector<CallMark> marks_;
};

// The calls that a JSON value holds in any of the usual spellings: an object with name and arguments (or parameters),
// such a one under "function", lists of them, also under "tool_calls". Empty: none, or not only calls.
std::vector<ToolCall> calls_of_json(std::string_view json);

}  // namespace spillway
