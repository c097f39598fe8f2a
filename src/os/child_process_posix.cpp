// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/clock.h"
#include "os/child_process.h"
#include "os/fd.h"

namespace spillway {
namespace {

constexpr int kTick_ms = 200;
constexpr size_t kOutputBytesMax = 64ull << 20;  // of a report; more is a child gone mad
constexpr size_t kErrorBytesKept = 16ull << 10;

struct Pipe {
  Fd read_end, write_end;
};

Failure system_error(const std::string& what, int number) {
  const Code code = number == ENOENT                      ? Code::kNotFound
                    : number == EACCES || number == EPERM ? Code::kPermissionDenied
                                                          : Code::kIo;
  return error(code, fmt::format("{}: {}", what, std::strerror(number)));
}

Result<Pipe> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return system_error("pipe", errno);
  return Pipe{Fd(ends[0]), Fd(ends[1])};
}

// As exec takes them, ended by nullptr.
std::vector<char*> pointers_to(std::vector<std::string>& words) {
  std::vector<char*> pointers;
  pointers.reserve(words.size() + 1);
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::vector<char*> environment_without(const std::vector<std::string>& names) {
  std::vector<char*> left;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text = *variable;
    const auto is_it = [&](const std::string& name) { return text.starts_with(name + "="); };
    if (std::none_of(names.begin(), names.end(), is_it)) left.push_back(*variable);
  }
  left.push_back(nullptr);
  return left;
}

// The child's three ways to talk to us, and the one by which we let it go.
struct Channels {
  Pipe output, errors, go, trouble;
};

// Between fork and exec: only calls that are safe in a signal handler. `argv` and `envp` were made before.
[[noreturn]] void become(const ChildCommand& command, char* const* argv, char* const* envp, const Channels& channels) {
  const auto fail = [&] {
    const int number = errno;
    (void)!::write(channels.trouble.write_end.get(), &number, sizeof number);
    ::_exit(127);
  };
  ::close(channels.go.write_end.get());  // ours is a copy: while it is open, the read below would not see the end
  char go = 0;
  if (::read(channels.go.read_end.get(), &go, 1) != 1) ::_exit(127);  // the parent gave up
  if (!command.folder.empty() && ::chdir(command.folder.c_str()) != 0) fail();
  const int nothing = ::open("/dev/null", O_RDONLY);
  if (nothing < 0 || ::dup2(nothing, STDIN_FILENO) < 0 || ::dup2(channels.output.write_end.get(), STDOUT_FILENO) < 0 ||
      ::dup2(channels.errors.write_end.get(), STDERR_FILENO) < 0)
    fail();
  std::signal(SIGPIPE, SIG_DFL);
  ::execve(command.program.c_str(), argv, envp);
  fail();
  ::_exit(127);
}

// False at its end.
bool read_some(const Fd& fd, std::string& text) {
  char buffer[65536];
  const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
  if (n > 0) text.append(buffer, static_cast<size_t>(n));
  return n > 0 || (n < 0 && errno == EINTR);
}

// Kills and collects a child that is not to be, whatever way we leave.
class ChildGuard {
 public:
  explicit ChildGuard(pid_t pid) : pid_(pid) {}
  ~ChildGuard() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  ChildGuard(const ChildGuard&) = delete;
  ChildGuard& operator=(const ChildGuard&) = delete;

  void ask_to_stop() const { ::kill(pid_, SIGINT); }
  void make_stop() const { ::kill(pid_, SIGKILL); }

  // True when it has ended.
  bool collect(ChildOutcome& outcome) {
    int status = 0;
    rusage usage{};
    if (::wait4(pid_, &status, WNOHANG, &usage) != pid_) return false;
    pid_ = 0;
    if (WIFEXITED(status)) outcome.exit_code = WEXITSTATUS(status);
    if (WIFSIGNALED(status)) outcome.signal = WTERMSIG(status);
    outcome.rss_bytes_max = static_cast<uint64_t>(usage.ru_maxrss) * 1024;
    return true;
  }

 private:
  pid_t pid_;
};

// Reads what the child says until it has ended.
Result<ChildOutcome> follow(ChildGuard& child, const Channels& channels, const ChildCommand& command,
                            const std::function<bool()>& go_on) {
  ChildOutcome outcome;
  const Stopwatch watch;
  std::optional<Stopwatch> since_asked;
  bool output_open = true, errors_open = true;
  while (true) {
    pollfd fds[2] = {{output_open ? channels.output.read_end.get() : -1, POLLIN, 0},
                     {errors_open ? channels.errors.read_end.get() : -1, POLLIN, 0}};
    ::poll(fds, 2, output_open || errors_open ? kTick_ms : 5);
    if (fds[0].revents != 0) output_open = read_some(channels.output.read_end, outcome.output);
    if (fds[1].revents != 0) errors_open = read_some(channels.errors.read_end, outcome.errors);
    if (outcome.errors.size() > 2 * kErrorBytesKept) outcome.errors.erase(0, outcome.errors.size() - kErrorBytesKept);
    if (!output_open && !errors_open && child.collect(outcome)) break;

    if (!since_asked && !go_on()) {
      child.ask_to_stop();
      since_asked.emplace();
    }
    if ((since_asked && since_asked->elapsed_s() > command.patience_s) || outcome.output.size() > kOutputBytesMax)
      child.make_stop();
    if (command.timeout_s > 0 && watch.elapsed_s() > command.timeout_s) {
      outcome.timed_out = true;
      child.make_stop();
    }
  }
  outcome.wall_s = watch.elapsed_s();
  // Ctrl-C reaches the child as well as us: it may be gone before we asked.
  if (since_asked || !go_on()) return error(Code::kCancelled, "stopped");
  return outcome;
}

}  // namespace

Result<ChildOutcome> run_child(const ChildCommand& command, const std::function<bool()>& go_on) {
  // 1. Everything that takes memory, before there are two of us.
  std::vector<std::string> words = {command.program};
  words.insert(words.end(), command.arguments.begin(), command.arguments.end());
  const std::vector<char*> argv = pointers_to(words);
  const std::vector<char*> envp = environment_without(command.unset);
  Channels channels;
  for (Pipe* pipe : {&channels.output, &channels.errors, &channels.go, &channels.trouble}) {
    ASSIGN_OR_RETURN(*pipe, make_pipe());
  }

  // 2. The child waits until it is in its cgroup.
  const pid_t pid = ::fork();
  if (pid < 0) return system_error("fork", errno);
  if (pid == 0) become(command, argv.data(), envp.data(), channels);
  ChildGuard child(pid);
  for (Pipe* pipe : {&channels.output, &channels.errors, &channels.trouble}) pipe->write_end = Fd();
  if (command.cgroup != nullptr) RETURN_IF_ERROR(command.cgroup->add(pid));
  if (::write(channels.go.write_end.get(), "g", 1) != 1) return system_error("pipe", errno);

  // 3. Nothing comes through this pipe when exec went well.
  int number = 0;
  ssize_t n = 0;
  while ((n = ::read(channels.trouble.read_end.get(), &number, sizeof number)) < 0 && errno == EINTR) {
  }
  if (n == sizeof number) return system_error(command.program, number);
  return follow(child, channels, command, go_on);
}

}  // namespace spillway
