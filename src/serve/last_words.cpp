// SPDX-License-Identifier: MIT
#include "serve/last_words.h"

#include <fmt/format.h>

#include <exception>

#include "base/notice.h"

namespace spillway {

void notice_if_possible(const char* where, const char* what) noexcept {
  try {
    notice(fmt::format("{}: {}", where, what));
  } catch (const std::exception&) {
    // No memory for it.
  }
}

}  // namespace spillway
