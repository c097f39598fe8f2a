// SPDX-License-Identifier: MIT
// When to try again: waits longer from failure to failure, and gives up after some without progress.
#pragma once

#include <functional>

#include "base/status.h"
#include "fetch/http.h"
#include "fetch/pull.h"

namespace spillway {

// So long the first connection may take: somebody who pulls a model waits for it.
constexpr double kFirstConnect_s = 10;

class Retry {
 public:
  explicit Retry(const PullOptions& options) : options_(options) {}

  void progressed() { failures_ = 0; }

  // After `failure`: waits for the time that the server asked for, or our own; then returns. Or gives what ends it all:
  // the failure itself when it is not of the kind that passes, or came too often.
  //   Cancelled
  // Where nothing was reached, nor before, there is no network, or no such host: that does not pass while one waits.
  Result<void> wait_after(const Status& failure, double server_asks_s = 0, bool reached = true);

 private:
  const PullOptions& options_;
  unsigned failures_ = 0;
  bool ever_reached_ = false;
};

// Sleeps, and looks in between whether somebody cancelled.
//   Cancelled
Result<void> sleep_unless_cancelled(double seconds, const PullOptions& options);

// The seconds of a Retry-After header; 0 when it is none, or a date.
double retry_after_s(const std::string& header);

// For how long the server asks to be left alone, by Retry-After or, where nothing is left, RateLimit
// ("resolvers";r=0;t=55); 0: it does not say.
double server_wait_s(const HttpHead& head);

}  // namespace spillway
