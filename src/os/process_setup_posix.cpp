// SPDX-License-Identifier: MIT
#include "os/process_setup.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>

namespace spillway {

void prepare_process() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd)
    if (::fcntl(fd, F_GETFD) < 0 && errno == EBADF)
      (void)::open("/dev/null", fd == STDERR_FILENO ? O_WRONLY : O_RDONLY);
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
  }
}

uint64_t open_files_max() {
  rlimit files{};
  return ::getrlimit(RLIMIT_NOFILE, &files) == 0 ? files.rlim_cur : 1024;
}

bool has_random_numbers() {
  unsigned char byte = 0;
  return ::getentropy(&byte, 1) == 0 || errno == ENOSYS;
}

bool has_stack() {
  constexpr rlim_t kStackBytesMin = 256 << 10;
  rlimit stack{};
  return ::getrlimit(RLIMIT_STACK, &stack) != 0 || stack.rlim_cur >= kStackBytesMin;
}

}  // namespace spillway
