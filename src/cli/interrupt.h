// SPDX-License-Identifier: MIT
// Ctrl-C: asks whatever runs to stop, and leaves it to the verb whether the program ends. Used by the main thread.
//
// The third Ctrl-C that nobody took notice of ends the program at once, as it would have without us.
#pragma once

#include "engine/engine.h"

namespace spillway {

void install_interrupt_handler();

// Since the start or clear_interrupt().
bool interrupted();
void clear_interrupt();

// While it lives, Ctrl-C also stops the pass that `engine` is computing. One at a time.
class AbortOnInterrupt {
 public:
  explicit AbortOnInterrupt(Engine& engine);
  ~AbortOnInterrupt();
  AbortOnInterrupt(const AbortOnInterrupt&) = delete;
  AbortOnInterrupt& operator=(const AbortOnInterrupt&) = delete;
};

}  // namespace spillway
