// SPDX-License-Identifier: MIT
// ggml and libllama report through one process-wide log callback. This takes it over: nothing is printed, and the first
// error of the calling thread is kept, because it is often the only reason a call gives.
#pragma once

#include <ggml.h>

#include <string>
#include <string_view>

namespace spillway {

// The callback itself, for libllama, which keeps one of its own.
void on_ggml_log(ggml_log_level level, const char* text, void* unused);

// Takes the callback over; idempotent, thread-safe.
void capture_ggml_log();

// `text` without newlines and terminal controls: names in a file are anybody's, and messages quote them.
std::string one_line(std::string_view text);

// ": WHY" behind what failed; empty where nobody said why.
std::string because(const std::string& why);

// While it lives, collects the errors that this thread's calls into ggml and libllama report.
class GgmlErrorCapture {
 public:
  GgmlErrorCapture();
  ~GgmlErrorCapture();
  GgmlErrorCapture(const GgmlErrorCapture&) = delete;
  GgmlErrorCapture& operator=(const GgmlErrorCapture&) = delete;

  // The first one reported, which names the cause (later ones add that something failed); empty when there was none.
  const std::string& first_error() const;
};

}  // namespace spillway
