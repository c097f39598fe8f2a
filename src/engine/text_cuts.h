// SPDX-License-Identifier: MIT
// Where a long text can be cut so that the tokens of its parts, one after the other, are the tokens of the whole.
// libllama first divides a text at special tokens, and its time for that grows with the square of how many there are:
// 80,000 of Gemma's line breaks took 7 s, a megabyte of them 20 minutes, a run of a million spaces 9 s. Behind a
// special token each tokenizer of libllama begins anew, so a text is cut there. Thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace spillway {

struct SpecialText {
  std::string text;
  bool is_control = false;  // found only where the caller asks for special tokens
  bool strips = false;      // takes the blanks beside it as well
};

class TextCuts {
 public:
  explicit TextCuts(const std::vector<SpecialText>& specials);

  // The parts of `text`, each at least `part_bytes` but the last, and larger where it cannot be cut.
  std::vector<std::string_view> parts(std::string_view text, size_t part_bytes, bool finds_control) const;

 private:
  // The longest special text at `at`; nullopt: none. Of several at one place all but the longest lie within it.
  struct Found {
    size_t bytes = 0;
    bool is_control = false;
  };
  Found longest_at(std::string_view text, size_t at) const;
  bool may_cut(std::string_view text, size_t begin, const Found& found, bool finds_control) const;
  size_t next_cut(std::string_view text, size_t from, bool finds_control) const;
  // The same within a run of one byte; 0: not to be cut there. `run_end` is kept from one call to the next.
  size_t next_cut_of_run(std::string_view text, size_t from, bool finds_control, const char*& run_end) const;

  std::unordered_map<std::string, bool> specials_;  // whether each is a control token
  struct RunBytes {
    size_t all = 0, without_control = 0;
  };
  std::array<RunBytes, 256> runs_{};  // of specials of one byte again and again: the longest
  std::unordered_map<std::string, std::vector<size_t>> lengths_;  // by the first two bytes, the longest first
  size_t bytes_max_ = 0;
  bool any_strips_ = false;
};

}  // namespace spillway
