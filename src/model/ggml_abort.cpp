// SPDX-License-Identifier: MIT
#include "model/ggml_abort.h"

#include <ggml.h>

#include <atomic>
#include <utility>

#include "base/notice.h"
#include "model/ggml_log.h"

namespace spillway {
namespace {

std::atomic<void (*)(const std::string&)> g_last_words = nullptr;
thread_local GgmlAbortThrows* t_throws = nullptr;

// "/build/ggml/src/ggml-vulkan.cpp:2041: fatal error": of the path, the file alone tells something.
std::string without_folder(const char* text) {
  const std::string line = one_line(text);
  const size_t slash = line.find_last_of('/', line.find(": "));
  return slash == std::string::npos ? line : line.substr(slash + 1);
}

}  // namespace

// ggml's callback. Its frames are left like those of C++: Debian, and every compiler for these processors by default,
// gives C the tables for that.
void answer_ggml_abort(const char* text) {
  const std::string why = without_folder(text);
  if (t_throws != nullptr) {
    if (t_throws->why_.empty()) t_throws->why_ = why;
    throw GgmlAborted(why);
  }
  if (const auto last_words = g_last_words.load())
    last_words(why);
  else
    notice(why);
}

void on_ggml_abort(void (*last_words)(const std::string& why)) {
  g_last_words = last_words;
  ggml_set_abort_callback(answer_ggml_abort);
}

GgmlAbortThrows::GgmlAbortThrows() : outer_(std::exchange(t_throws, this)) {
  static const auto once = ggml_set_abort_callback(answer_ggml_abort);
  (void)once;
}
GgmlAbortThrows::~GgmlAbortThrows() { t_throws = outer_; }

}  // namespace spillway
