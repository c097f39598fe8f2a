// SPDX-License-Identifier: MIT
// Who wants a piece of work done.
#pragma once

#include <functional>
#include <string>

namespace spillway {

struct Asker {
  std::string client{};  // those of one take turns with those of others
  // Asked now and then, by the thread that waits: once it says no, the work is not begun, or told to stop. May be null.
  std::function<bool()> is_waiting{};

  bool has_left() const { return is_waiting && !is_waiting(); }
};

}  // namespace spillway
