// SPDX-License-Identifier: MIT
#include "cli/run/line_reader.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>

#include "cli/interrupt.h"

namespace spillway {

LineReader::Outcome LineReader::read(std::string& line) {
  while (true) {
    const size_t end = held_.find('\n');
    if (end != std::string::npos || (ended_ && !held_.empty())) {
      line = held_.substr(0, end);
      held_.erase(0, end == std::string::npos ? held_.size() : end + 1);
      return Outcome::kLine;
    }
    if (ended_) return Outcome::kEnd;
    if (held_.size() > kBytesMax) return Outcome::kTooLong;
    pollfd waited = {.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
    const int ready = poll(&waited, 1, -1);
    if (interrupted()) {
      held_.clear();
      return Outcome::kInterrupted;
    }
    if (ready < 0 && errno == EINTR) continue;
    char buffer[4096];
    const ssize_t n = ::read(STDIN_FILENO, buffer, sizeof buffer);
    if (n > 0)
      held_.append(buffer, static_cast<size_t>(n));
    else if (n == 0 || errno != EINTR)
      ended_ = true;
  }
}

}  // namespace spillway
