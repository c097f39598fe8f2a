// SPDX-License-Identifier: MIT
#include "base/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace spillway {

StopMatcher::StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {
  std::erase_if(stops_, [](const std::string& stop) { return stop.empty(); });
}

std::string StopMatcher::push(std::string_view text) {
  if (stopped_) return {};
  held_ += text;
  size_t first = std::string::npos;
  for (const std::string& stop : stops_) {
    const size_t at = held_.find(stop);
    if (at >= first) continue;
    first = at;
    matched_ = stop;
  }
  stopped_ = first != std::string::npos;
  const size_t certain = stopped_ ? first : possible_beginning();
  std::string out = held_.substr(0, certain);
  held_.erase(0, stopped_ ? held_.size() : certain);
  return out;
}

std::string StopMatcher::finish() { return std::exchange(held_, {}); }

// Where the longest end of held_ starts that is the beginning of a stop string.
size_t StopMatcher::possible_beginning() const {
  size_t longest = 0;
  for (const std::string& stop : stops_)
    for (size_t n = std::min(stop.size() - 1, held_.size()); n > longest; --n)
      if (held_.ends_with(std::string_view(stop).substr(0, n))) longest = n;
  return held_.size() - longest;
}

}  // namespace spillway
