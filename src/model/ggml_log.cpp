// SPDX-License-Identifier: MIT
#include "model/ggml_log.h"

#include <mutex>

namespace spillway {
namespace {

thread_local std::string t_error;

}  // namespace

void on_ggml_log(ggml_log_level level, const char* text, void*) {
  if (level != GGML_LOG_LEVEL_ERROR || !t_error.empty()) return;
  std::string_view sentence = text;
  while (!sentence.empty() && (sentence.back() == '\n' || sentence.back() == '.')) sentence.remove_suffix(1);
  t_error = one_line(sentence);
}

std::string because(const std::string& why) { return why.empty() ? "" : ": " + why; }

std::string one_line(std::string_view text) {
  std::string line(text);
  for (char& c : line)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  return line;
}

void capture_ggml_log() {
  static std::once_flag once;
  std::call_once(once, [] { ggml_log_set(on_ggml_log, nullptr); });
}

GgmlErrorCapture::GgmlErrorCapture() {
  capture_ggml_log();
  t_error.clear();
}
GgmlErrorCapture::~GgmlErrorCapture() { t_error.clear(); }
const std::string& GgmlErrorCapture::first_error() const { return t_error; }

}  // namespace spillway
