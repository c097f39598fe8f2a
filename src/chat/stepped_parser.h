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
  OutputDelta finish() final {
    ended_ = true;
    return all_steps();
  }

 protected:
  // Passes on what is certain. True: there may be more to do.
  virtual bool step(OutputDelta& delta) = 0;

  std::string buffer_;
  bool ended_ = false;

 private:
  OutputDelta all_steps() {
    OutputDelta delta;
    while (step(delta)) {
    }
    return delta;
  }
};

}  // namespace spillway
