// SPDX-License-Identifier: MIT
#include "cli/progress_bar.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>

#include "cli/stderr_text.h"

namespace spillway {
namespace {

constexpr double kQuick_s = 0.3, kRedraw_s = 0.1;
constexpr int kWidth = 30;

std::atomic<bool> g_is_drawn = false;  // a bar, on the line where stderr is

}  // namespace

ProgressBar::ProgressBar(std::string label) : label_(std::move(label)), enabled_(isatty(STDERR_FILENO) == 1) {}

void ProgressBar::show(double fraction, const std::string& note) {
  const double now_s = since_start_.elapsed_s();
  if (!enabled_ || now_s < kQuick_s || (visible_ && now_s < drawn_s_ + kRedraw_s)) return;
  drawn_s_ = now_s;
  visible_ = g_is_drawn = true;
  const int full = static_cast<int>(std::clamp(fraction, 0.0, 1.0) * kWidth);
  print_to_stderr(fmt::format("\r{} [{:#<{}}{:<{}}] {:3.0f} %{}{}\x1b[K", label_, "", full, "", kWidth - full,
                              fraction * 100, note.empty() ? "" : "  ", note));
}

void ProgressBar::clear() {
  if (!visible_) return;
  visible_ = false;
  take_bar_off_stderr();
}

void take_bar_off_stderr() {
  if (g_is_drawn.exchange(false)) print_to_stderr("\r\x1b[K");
}

}  // namespace spillway
