// SPDX-License-Identifier: MIT
#include "model/ggml_log.h"

#include <atomic>
#include <mutex>

namespace spillway {
namespace {

thread_local std::string t_error;
std::atomic<void (*)(const std::string&)> g_last_words = nullptr;

// "/build/ggml/src/ggml-vulkan.cpp:2041: fatal error": of the path, the file alone tells something.
void say_last_words(const char* text) {
  const std::string line = one_line(text);
  const size_t slash = line.find_last_of('/', line.find(": "));
  if (const auto last_words = g_last_words.load())
    last_words(slash == std::string::npos ? line : line.substr(slash + 1));
}

}  // namespace

void on_ggml_log(ggml_log_level level, const char* text, void*) {
  if (level != GGML_LOG_LEVEL_ERROR || !t_error.empty()) return;
  std::string_view sentence = text;
  while (!sentence.empty() && (sentence.back() == '\n' || sentence.back() == '.')) sentence.remove_suffix(1);
  t_error = one_line(sentence);
}

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

void on_ggml_abort(void (*last_words)(const std::string& why)) {
  g_last_words = last_words;
  ggml_set_abort_callback(say_last_words);
}

GgmlErrorCapture::GgmlErrorCapture() {
  capture_ggml_log();
  t_error.clear();
}
GgmlErrorCapture::~GgmlErrorCapture() { t_error.clear(); }
const std::string& GgmlErrorCapture::first_error() const { return t_error; }

}  // namespace spillway
