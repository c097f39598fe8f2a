// SPDX-License-Identifier: MIT
// A text of which no more is made than there is room for. A writer asks is_full() where much may follow.
// Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace spillway {

class BoundedText {
 public:
  explicit BoundedText(uint64_t bytes_max) : bytes_max_(bytes_max) {}

  // All of `part`, or nothing of it and of what comes later.
  void add(std::string_view part) {
    is_full_ = is_full_ || part.size() > bytes_max_ - text_.size();
    if (!is_full_) text_ += part;
  }
  void add(char c) { add(std::string_view(&c, 1)); }

  // What is left out here was left out elsewhere already.
  void be_full() { is_full_ = true; }

  bool is_full() const { return is_full_; }  // something was left out
  uint64_t room_bytes() const { return is_full_ ? 0 : bytes_max_ - text_.size(); }
  const std::string& text() const { return text_; }
  std::string take() { return std::move(text_); }

 private:
  const uint64_t bytes_max_;
  std::string text_;
  bool is_full_ = false;
};

}  // namespace spillway
