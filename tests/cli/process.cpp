// SPDX-License-Identifier: MIT
#include "process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <utility>

namespace spillway {
namespace {

void close_fd(int& fd) {
  if (fd >= 0) ::close(fd);
  fd = -1;
}

// An open, unlinked file that holds `input`: unlike a pipe it never fills up.
int file_with(const std::string& input) {
  std::string name = testing::TempDir() + "spillway-stdin-XXXXXX";
  const int fd = ::mkstemp(name.data());
  ::unlink(name.c_str());
  EXPECT_EQ(::write(fd, input.data(), input.size()), static_cast<ssize_t>(input.size()));
  ::lseek(fd, 0, SEEK_SET);
  return fd;
}

}  // namespace

Process::Process(const std::vector<std::string>& command, const std::string& input) {
  std::vector<char*> arguments;
  for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  int in_fd = file_with(input);
  int out[2], err[2];
  if (::pipe2(out, O_CLOEXEC) != 0 || ::pipe2(err, O_CLOEXEC) != 0 || (pid_ = ::fork()) < 0) {
    ADD_FAILURE() << "the process could not be made";
    return;
  }
  if (pid_ == 0) {
    ::dup2(in_fd, 0);
    ::dup2(out[1], 1);
    ::dup2(err[1], 2);
    ::execv(arguments[0], arguments.data());
    ::_exit(127);
  }
  close_fd(in_fd);
  close_fd(out[1]);
  close_fd(err[1]);
  out_fd_ = out[0];
  err_fd_ = err[0];
}

Process::~Process() {
  close_fd(out_fd_);
  close_fd(err_fd_);
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

bool Process::read_some() {
  pollfd waited[2] = {{.fd = out_fd_, .events = POLLIN, .revents = 0}, {.fd = err_fd_, .events = POLLIN, .revents = 0}};
  if (out_fd_ < 0 && err_fd_ < 0) return false;
  ::poll(waited, 2, -1);
  const auto take = [](int& fd, const pollfd& state, std::string& text) {
    if (fd < 0 || state.revents == 0) return;
    char buffer[4096];
    const ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n > 0)
      text.append(buffer, static_cast<size_t>(n));
    else
      close_fd(fd);
  };
  take(out_fd_, waited[0], outcome_.out);
  take(err_fd_, waited[1], outcome_.err);
  return true;
}

void Process::wait_for_output() {
  while (outcome_.out.empty() && out_fd_ >= 0 && read_some()) {
  }
}

void Process::signal(int number) const { ::kill(pid_, number); }

void Process::close_output() { close_fd(out_fd_); }

ProcessOutcome Process::finish() {
  while (read_some()) {
  }
  int status = 0;
  ::waitpid(std::exchange(pid_, -1), &status, 0);
  outcome_.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return outcome_;
}

}  // namespace spillway
