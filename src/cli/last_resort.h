// SPDX-License-Identifier: MIT
// Ends the process when what is being stopped does not stop: a library's call that nobody can break off would be waited
// for without end.
#pragma once

#include <chrono>
#include <functional>
#include <thread>

namespace spillway {

// While it lives, it waits on a thread of its own. When it lives longer than `patience`, `say` is called there, and the
// process ends at once with exit code 0, without destructors: what the program began to stop was asked for.
class LastResort {
 public:
  LastResort(std::chrono::milliseconds patience, std::function<void()> say);

 private:
  std::jthread waiter_;
};

}  // namespace spillway
