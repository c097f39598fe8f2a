// SPDX-License-Identifier: MIT
#include "cli/pull_bar.h"

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/saturating_sub.h"

namespace spillway {

void PullBar::show(const PullProgress& one) {
  if (one.status != status_) {
    status_ = one.status;
    bar_.emplace(status_);
    watch_ = Stopwatch();
    first_bytes_ = one.completed_bytes;
  }
  if (one.total_bytes == 0) return;
  const double elapsed_s = watch_.elapsed_s();
  const auto came = static_cast<double>(saturating_sub(one.completed_bytes, first_bytes_));
  std::string note = fmt::format("{} of {}", format_bytes(one.completed_bytes), format_bytes(one.total_bytes));
  if (elapsed_s > 1 && came > 0) {
    const double bytes_per_s = came / elapsed_s;
    const auto left_s =
        static_cast<uint64_t>(static_cast<double>(saturating_sub(one.total_bytes, one.completed_bytes)) / bytes_per_s);
    note += fmt::format(", {}/s, {}:{:02} left", format_bytes(static_cast<uint64_t>(bytes_per_s)), left_s / 60,
                        left_s % 60);
  }
  bar_->show(static_cast<double>(one.completed_bytes) / static_cast<double>(one.total_bytes), note);
}

}  // namespace spillway
