// SPDX-License-Identifier: MIT
#include "base/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace spillway {

StopMatcher::StopMatcher(std::vector<std::string> stops) {
  for (std::string& text : stops) {
    if (text.empty()) continue;
    Stop& stop = stops_.emplace_back(Stop{.text = std::move(text), .shorter = {}});
    stop.shorter.resize(stop.text.size());
    for (size_t i = 1; i < stop.text.size(); ++i) {
      advance(stop, stop.text[i]);
      stop.shorter[i] = static_cast<uint32_t>(stop.n_matched);
    }
    stop.n_matched = 0;
  }
}

bool StopMatcher::advance(Stop& stop, char c) {
  while (stop.n_matched > 0 && stop.text[stop.n_matched] != c) stop.n_matched = stop.shorter[stop.n_matched - 1];
  if (stop.text[stop.n_matched] == c) ++stop.n_matched;
  return stop.n_matched == stop.text.size();
}

std::string StopMatcher::push(std::string_view text) {
  if (stopped_) return {};
  const size_t held_bytes = held_.size();
  held_ += text;
  size_t first = held_.size(), longest = 0;
  for (Stop& stop : stops_) {
    for (size_t i = 0; i < text.size(); ++i) {
      if (!advance(stop, text[i])) continue;
      stopped_ = true;
      const size_t at = held_bytes + i + 1 - stop.text.size();
      if (matched_.empty() || at < first) {
        first = at;
        matched_ = stop.text;
      }
      break;
    }
    longest = std::max(longest, stop.n_matched);
  }
  const size_t certain = stopped_ ? first : held_.size() - longest;
  std::string out = held_.substr(0, certain);
  held_.erase(0, stopped_ ? held_.size() : certain);
  return out;
}

std::string StopMatcher::finish() { return std::exchange(held_, {}); }

}  // namespace spillway
