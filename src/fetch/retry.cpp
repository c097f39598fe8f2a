// SPDX-License-Identifier: MIT
#include "fetch/retry.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/clock.h"

namespace spillway {
namespace {

constexpr double kBackoffMax_s = 15, kServerAsksMax_s = 60, kCancelCheck_s = 0.05;

}  // namespace

Result<void> sleep_unless_cancelled(double seconds, const PullOptions& options) {
  const Stopwatch watch;
  for (;;) {
    if (options.cancelled && options.cancelled()) return error(Code::kCancelled, "cancelled");
    const double left_s = seconds - watch.elapsed_s();
    if (left_s <= 0) return {};
    std::this_thread::sleep_for(std::chrono::duration<double>(std::min(left_s, kCancelCheck_s)));
  }
}

Result<void> Retry::wait_after(const Status& failure, double server_asks_s, bool reached) {
  ever_reached_ = ever_reached_ || reached;
  if (!ever_reached_ && failure.code() == Code::kUnavailable)
    return error(failure.code(), failure.message() + " (is there a network? What is here already needs no pull)");
  if (failure.code() != Code::kUnavailable || ++failures_ >= options_.attempts) return Failure(failure);
  double wait_s = options_.backoff_first_s;
  for (unsigned i = 1; i < failures_; ++i) wait_s *= 2;
  return sleep_unless_cancelled(std::max(std::min(wait_s, kBackoffMax_s), std::min(server_asks_s, kServerAsksMax_s)),
                                options_);
}

double retry_after_s(const std::string& header) {
  if (header.empty() || header.size() > 6 ||
      !std::all_of(header.begin(), header.end(), [](char c) { return c >= '0' && c <= '9'; }))
    return 0;
  return std::stod(header);
}

double server_wait_s(const HttpHead& head) {
  if (const double seconds = retry_after_s(head.header("retry-after")); seconds > 0) return seconds;
  // Of several policies the one that is used up.
  const std::string limits = head.header("ratelimit");
  for (size_t begin = 0; begin < limits.size();) {
    const size_t end = std::min(limits.find(',', begin), limits.size());
    const std::string policy = limits.substr(begin, end - begin);
    begin = end + 1;
    const size_t time = policy.find(";t=");
    if (policy.find(";r=0") == std::string::npos || time == std::string::npos) continue;
    const size_t digits = time + 3;
    return retry_after_s(policy.substr(digits, policy.find_first_not_of("0123456789", digits) - digits));
  }
  return 0;
}

}  // namespace spillway
