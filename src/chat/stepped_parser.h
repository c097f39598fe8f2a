// SPDX-License-Identifier: MIT
// What the parsers of answers have in common: text that is not certain yet waits in a buffer, and is taken off it step
// by step.
#pragma once

#include <string>
#include <string_view>

#include "chat/output_parser.h"

namespace spillway {

class SteppedParser : public OutputParser {
 public:
  OutputDelta push(std::string_view piece) final {
    buffer_ += piece;
    return all_steps();
  }
  OutputDelta finish(bool cut) final {
    ended_ = true;
    cut_ = cut;
    return all_steps();
  }
  bool ends_with_call() const final { return ends_with_call_; }

 protected:
  // Passes on what is certain. True: there may be more to do.
  virtual bool step(OutputDelta& delta) = 0;

  std::string buffer_;
  bool ended_ = false, cut_ = false;

 private:
  OutputDelta all_steps() {
    OutputDelta delta;
    while (step(delta)) {
    }
    if (!delta.tool_calls.empty()) ends_with_call_ = true;
    // What comes with a call stands before it, or is blank; half a call is dropped and was to be another.
    if (dropped_half_call_ || (delta.tool_calls.empty() && !(delta.content + delta.thinking).empty()))
      ends_with_call_ = false;
    return delta;
  }

  bool ends_with_call_ = false;

 protected:
  bool dropped_half_call_ = false;
};

}  // namespace spillway
