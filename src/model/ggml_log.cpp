// SPDX-License-Identifier: MIT
#include "model/ggml_log.h"

#include <mutex>

namespace spillway {
namespace {

thread_local std::string t_error;

}  // namespace

void on_ggml_log(ggml_log_level level, const char* text, void*) {
  if (level != GGML_LOG_LEVEL_ERROR || !t_error.empty()) return;
  t_error = text;
  while (!t_error.empty() && (t_error.back() == '\n' || t_error.back() == '.')) t_error.pop_back();
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
