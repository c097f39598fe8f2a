// SPDX-License-Identifier: MIT
// How a model marks text, thoughts and calls of tools in what it writes. Known from its chat template, which shows the
// model the same marks (format_probe). Pure values.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "chat/call_syntax.h"

namespace spillway {

struct OutputFormat {
  // gpt-oss: messages with channels. Its calls and thoughts are known without `calls` and the marks below.
  bool harmony = false;
  std::optional<CallSyntax> calls = {};  // nullopt: calls are not recognised
  std::string think_begin = {}, think_end = {};
  // In front of text that is for the reader; empty: nothing is. What ends it, and begins something else.
  std::string text_begin = {};
  std::vector<std::string> text_ends = {};

  bool has_calls() const { return harmony || calls; }

  friend bool operator==(const OutputFormat&, const OutputFormat&) = default;
};

// For people.
std::string show(const OutputFormat& format);

}  // namespace spillway
