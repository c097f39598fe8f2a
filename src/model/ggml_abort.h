// SPDX-License-Identifier: MIT
// Where ggml or libllama sees no way on (figures of a file that it believed, a promise of its own that is broken, a
// driver that lost its device) it ends the process. What can be done about that.
#pragma once

#include <stdexcept>
#include <string>

namespace spillway {

// `last_words` is called first, with the reason on one line, on whichever thread it happened; it may end the process in
// its own way.
void on_ggml_abort(void (*last_words)(const std::string& why));

class GgmlAborted : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// While one lives, what this thread would have ended the process for is thrown as GgmlAborted instead: libllama takes
// it for an error of loading, or the caller catches it. What was half made may leak.
//
// Only around calls that compute on this thread alone. Nobody catches on ggml's own threads, which end the process as
// ever; and they would wait for ever for one that was thrown out of a computation.
class GgmlAbortThrows {
 public:
  GgmlAbortThrows();
  ~GgmlAbortThrows();
  GgmlAbortThrows(const GgmlAbortThrows&) = delete;
  GgmlAbortThrows& operator=(const GgmlAbortThrows&) = delete;

  // "llama-model.cpp:1120: GGML_ASSERT(...) failed": the first since it began, no matter who caught it; empty: none.
  const std::string& why() const { return why_; }

 private:
  friend void answer_ggml_abort(const char* text);
  GgmlAbortThrows* const outer_;
  std::string why_;
};

}  // namespace spillway
