// SPDX-License-Identifier: MIT
#include "make_model/progress_bar.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>

namespace spillway::make_model {
namespace {

constexpr double kRedrawEvery_s = 0.1;
constexpr int kBarCells = 30;

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace

ProgressBar::ProgressBar() : is_terminal_(isatty(STDERR_FILENO) != 0), start_s_(now_s()) {}

ProgressBar::~ProgressBar() {
  if (drawn_s_ > 0) fmt::print(stderr, "\r\x1b[K");
}

void ProgressBar::update(uint64_t done_bytes, uint64_t total_bytes) {
  if (!is_terminal_ || now_s() - drawn_s_ < kRedrawEvery_s) return;
  drawn_s_ = now_s();
  const double done = static_cast<double>(done_bytes);
  const double share = done / static_cast<double>(total_bytes);
  const int cells = static_cast<int>(share * kBarCells);
  fmt::print(stderr, "\r[{:=<{}}{:{}}] {:3.0f} %  {:.2f} GB  {:.2f} GB/s\x1b[K", "", cells, "", kBarCells - cells,
             100 * share, done / 1e9, done / 1e9 / (drawn_s_ - start_s_ + 1e-9));
  std::fflush(stderr);
}

}  // namespace spillway::make_model
