// SPDX-License-Identifier: MIT
#include "cli/end_by_signal.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <initializer_list>

namespace spillway {

// Calls only what a signal handler may call.
void end_by_signal(int number) {
  ::signal(number, SIG_DFL);
  sigset_t one;
  sigemptyset(&one);
  sigaddset(&one, number);
  pthread_sigmask(SIG_UNBLOCK, &one, nullptr);  // while its handler runs, it waits
  ::raise(number);
  ::_exit(128 + number);
}

void end_by_signals_as_first_process() {
  if (::getpid() != 1) return;
  for (const int number : {SIGHUP, SIGINT, SIGQUIT, SIGTERM})
    if (::signal(number, end_by_signal) == SIG_IGN) ::signal(number, SIG_IGN);
}

}  // namespace spillway
