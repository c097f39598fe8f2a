// SPDX-License-Identifier: MIT
#include "cli/end_by_signal.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

namespace spillway {
namespace {

constexpr int kNotAllowed = 77;

int exit_code_of(pid_t child) {
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// PID 1 of a namespace of its own says when it is ready, and gets the signal from outside, as in a container.
[[noreturn]] void be_outside_of_first_process(int number) {
  int ready[2] = {-1, -1};
  if ((::unshare(CLONE_NEWPID) != 0 && ::unshare(CLONE_NEWUSER | CLONE_NEWPID) != 0) || ::pipe(ready) != 0)
    ::_exit(kNotAllowed);
  ::alarm(20);  // if it does not end, this one does, and the other with it
  const pid_t first = ::fork();
  if (first < 0) ::_exit(kNotAllowed);
  char byte = 0;
  if (first == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    end_by_signals_as_first_process();
    (void)!::write(ready[1], &byte, 1);
    for (;;) ::pause();
  }
  (void)!::read(ready[0], &byte, 1);
  ::kill(first, number);
  ::_exit(exit_code_of(first));
}

TEST(EndBySignalDeathTest, AProgramEndsOfTheSignalThatItHandles) {
  for (const int number : {SIGINT, SIGTERM})
    EXPECT_EXIT(
        {
          std::signal(number, end_by_signal);
          std::raise(number);
        },
        testing::KilledBySignal(number), "");
}

TEST(EndBySignal, TheFirstProcessOfAContainerEndsOfSignalsToo) {
  for (const int number : {SIGINT, SIGTERM}) {
    const pid_t outside = ::fork();
    ASSERT_GE(outside, 0);
    if (outside == 0) be_outside_of_first_process(number);
    const int code = exit_code_of(outside);
    if (code == kNotAllowed) GTEST_SKIP() << "this user may make no PID namespace";
    EXPECT_EQ(code, 128 + number);
  }
}

}  // namespace
}  // namespace spillway
