// SPDX-License-Identifier: MIT
// Finds the first stop string in text that arrives in pieces, and holds back what may turn out to be the beginning of
// one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace spillway {

class StopMatcher {
 public:
  explicit StopMatcher(std::vector<std::string> stops);  // empty ones are ignored

  // What is certain to lie before any stop string. Nothing more comes once stopped().
  std::string push(std::string_view text);

  // The end: what was held back is text after all.
  std::string finish();

  bool stopped() const { return stopped_; }

  // The stop string that was found; empty before.
  const std::string& matched() const { return matched_; }

 private:
  // Knuth, Morris and Pratt (1977): a byte of text costs a step or two for each stop string, whatever is held back.
  struct Stop {
    std::string text;
    std::vector<uint32_t> shorter;  // [bytes]: of what has matched, the longest other beginning that it ends with
    size_t n_matched = 0;           // bytes of it that the text ends with
  };
  static bool advance(Stop& stop, char c);  // whether all of it has matched now

  std::vector<Stop> stops_;
  std::string held_, matched_;
  bool stopped_ = false;
};

}  // namespace spillway
