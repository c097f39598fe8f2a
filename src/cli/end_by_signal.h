// SPDX-License-Identifier: MIT
// Ends the program as a signal does that nobody handles, also where that does nothing: the kernel spares the first
// process of a container (PID 1) every signal that it has no handler for, even one that it sends itself.
#pragma once

namespace spillway {

// To be given to std::signal(), or called by a handler. The program ends of `number`, without destructors; as PID 1,
// which cannot, with exit code 128 + `number`.
[[noreturn]] void end_by_signal(int number);

// Where this process is PID 1, the signals that people and `docker stop` send end it, unless they are ignored or get
// another handler. To be called before threads are started.
void end_by_signals_as_first_process();

}  // namespace spillway
