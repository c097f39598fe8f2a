// SPDX-License-Identifier: MIT
#include "os/servant_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <ctime>
#include <utility>

#if defined(__linux__)
#include <sys/prctl.h>
#endif

#include "base/clock.h"
#include "os/fd.h"
#include "os/machine.h"

#if !defined(__linux__)
extern char** environ;
#endif

namespace spillway {
namespace {

constexpr size_t kLengthBytes = sizeof(uint64_t);
constexpr int kNotLoaded = 127;
// What an answer says of its length is believed so far before it has come.
constexpr uint64_t kReservedBytesMax = 64ull << 20;

Failure failed(const std::string& what, int number) {
  const Code code = number == ENOENT                      ? Code::kNotFound
                    : number == EACCES || number == EPERM ? Code::kPermissionDenied
                                                          : Code::kIo;
  return error(code, fmt::format("{}: {}", what, std::strerror(number)));
}

std::string length_in_front_of(std::string_view bytes) {
  const uint64_t length = bytes.size();
  return {reinterpret_cast<const char*>(&length), kLengthBytes};
}

uint64_t length_of(const std::string& framed) {
  uint64_t length = 0;
  std::memcpy(&length, framed.data(), kLengthBytes);
  return length;
}

class PosixServant : public ServantProcess {
 public:
  PosixServant(pid_t pid, Fd channel) : pid_(pid), channel_(std::move(channel)) {}
  ~PosixServant() override { end(); }

  // Both directions at once: a child that answers early must not wait for us while we wait for it. Nothing large is
  // copied: an image is as large as a body may be.
  Result<std::string> ask(std::string_view message, double timeout_s, uint64_t answer_bytes_max) override {
    if (pid_ <= 0) return error(Code::kIo, "the child process has ended");
    const std::string length = length_in_front_of(message);
    std::string_view rests[] = {length, message};
    std::string in;
    const Stopwatch watch;
    for (;;) {
      if (in.size() >= kLengthBytes && length_of(in) > answer_bytes_max)
        return give_up(Code::kOutOfBudget, "its answer is too long");
      if (in.size() >= kLengthBytes && in.size() == kLengthBytes + length_of(in))
        return std::move(in.erase(0, kLengthBytes));
      const double left_s = timeout_s - watch.elapsed_s();
      if (left_s <= 0) return give_up(Code::kOutOfBudget, "it did not answer in time");
      std::string_view& rest = rests[0].empty() ? rests[1] : rests[0];
      pollfd one{channel_.get(), static_cast<short>(rest.empty() ? POLLIN : POLLIN | POLLOUT), 0};
      const int ready = ::poll(&one, 1, static_cast<int>(std::ceil(std::min(left_s, 1.0) * 1000)));
      if (ready < 0 && errno != EINTR) return give_up(Code::kIo, std::strerror(errno));
      if (ready <= 0) continue;
      if ((one.revents & POLLOUT) != 0) {
        const ssize_t n = ::send(channel_.get(), rest.data(), rest.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR) return ended();
        if (n > 0) rest.remove_prefix(static_cast<size_t>(n));
      }
      if ((one.revents & (POLLIN | POLLHUP | POLLERR)) != 0 && !receive(in)) return ended();
    }
  }

  double cpu_s() const override {
#if defined(__linux__)
    clockid_t clock{};
    timespec time{};
    if (pid_ <= 0 || ::clock_getcpuclockid(pid_, &clock) != 0 || ::clock_gettime(clock, &time) != 0) return 0;
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
#else
    return 0;
#endif
  }

 private:
  // No more than this answer. false: nothing comes any more.
  bool receive(std::string& in) const {
    char piece[65536];
    const uint64_t wanted =
        in.size() < kLengthBytes ? kLengthBytes - in.size() : kLengthBytes + length_of(in) - in.size();
    const ssize_t n = ::recv(channel_.get(), piece, std::min<uint64_t>(wanted, sizeof piece), MSG_DONTWAIT);
    if (n > 0) in.append(piece, static_cast<size_t>(n));
    if (in.size() == kLengthBytes) in.reserve(kLengthBytes + std::min(length_of(in), kReservedBytesMax));
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
  }

  Failure give_up(Code code, const std::string& why) {
    end();
    return error(code, why);
  }

  // It closed its end, which it does by ending: how it did is settled before we kill it. Nobody of us did before; what
  // loads programs says 127 where it has no memory.
  Failure ended() {
    const int status = end();
    const bool by_system = (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) ||
                           (WIFEXITED(status) && WEXITSTATUS(status) == kNotLoaded);
    return by_system ? error(Code::kBusy, "the system ended it") : error(Code::kIo, "it ended");
  }

  // How it ended, as waitpid() says; 0: that is not known any more.
  int end() {
    if (pid_ <= 0) return 0;
    ::kill(pid_, SIGKILL);
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = 0;
    return status;
  }

  pid_t pid_;
  const Fd channel_;
};

struct SpawnAttributes {
  SpawnAttributes() {
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_init(&actions);
  }
  ~SpawnAttributes() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }
  SpawnAttributes(const SpawnAttributes&) = delete;
  SpawnAttributes& operator=(const SpawnAttributes&) = delete;

  posix_spawnattr_t attributes{};
  posix_spawn_file_actions_t actions{};
};

// What a servant has of our environment: where its libraries are, the time zone, and what sanitizers are told. Keys are
// there, too (SPILLWAY_API_KEY, HF_TOKEN), and it works on what strangers wrote.
std::vector<char*> environment_of_servant() {
  constexpr std::string_view kKept[] = {"LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TZ", "TZDIR"};
  std::vector<char*> kept;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text = *variable, name = text.substr(0, text.find('='));
    if (std::ranges::find(kKept, name) != std::end(kKept) || name.ends_with("SAN_OPTIONS")) kept.push_back(*variable);
  }
  kept.push_back(nullptr);
  return kept;
}

void limit(int what, uint64_t value) {
  rlimit now{};
  if (::getrlimit(what, &now) != 0) return;
  now.rlim_cur = now.rlim_max = std::min<rlim_t>(now.rlim_max, value);
  ::setrlimit(what, &now);
}

bool read_exactly(char* to, size_t bytes) {
  while (bytes > 0) {
    const ssize_t n = ::read(STDIN_FILENO, to, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    to += n;
    bytes -= static_cast<size_t>(n);
  }
  return true;
}

bool write_all(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(STDOUT_FILENO, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

}  // namespace

// posix_spawn, not fork: a copy of the page tables of a process that holds a model would take long.
Result<std::unique_ptr<ServantProcess>> ServantProcess::start(const std::string& program,
                                                              const std::vector<std::string>& arguments) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return failed("socketpair", errno);
  Fd ours(ends[0]);
  const Fd theirs(ends[1]);
  std::vector<std::string> words = {program};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  SpawnAttributes spawn;
  posix_spawn_file_actions_adddup2(&spawn.actions, theirs.get(), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&spawn.actions, theirs.get(), STDOUT_FILENO);
#if defined(__GLIBC__)
  // Libraries open sockets that stay open in children: a servant must not hold the port and the connections.
  posix_spawn_file_actions_addclosefrom_np(&spawn.actions, STDERR_FILENO + 1);
#endif
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&spawn.attributes, &none);
  posix_spawnattr_setsigdefault(&spawn.attributes, &all);
  // A group of its own: Ctrl-C is for us.
  posix_spawnattr_setpgroup(&spawn.attributes, 0);
  posix_spawnattr_setflags(&spawn.attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  pid_t pid = 0;
  const int number = ::posix_spawn(&pid, program.c_str(), &spawn.actions, &spawn.attributes, argv.data(),
                                   environment_of_servant().data());
  if (number != 0) return failed(program, number);
  return std::unique_ptr<ServantProcess>(std::make_unique<PosixServant>(pid, std::move(ours)));
}

void confine_this_process(uint64_t memory_bytes_max) {
#if defined(__linux__)
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
#endif
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // their own memory is far more
  limit(RLIMIT_AS, memory_bytes_max);
#else
  (void)memory_bytes_max;
#endif
  limit(RLIMIT_FSIZE, 0);
  limit(RLIMIT_NOFILE, 3);
  limit(RLIMIT_CORE, 0);
}

void confine_growth(uint64_t bytes) {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  if (const uint64_t now = process_usage().data_bytes; now > 0) limit(RLIMIT_DATA, now + bytes);
#else
  (void)bytes;
#endif
}

void limit_cpu_from_now(double seconds) {
  rusage usage{};
  rlimit cpu{};
  if (::getrusage(RUSAGE_SELF, &usage) != 0 || ::getrlimit(RLIMIT_CPU, &cpu) != 0) return;
  const auto used_s = static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + 1;
  const auto last = static_cast<rlim_t>(std::ceil(used_s + seconds));
  cpu.rlim_cur = std::min(cpu.rlim_max, last);
  ::setrlimit(RLIMIT_CPU, &cpu);
}

void answer_messages(const std::function<std::string(std::string message)>& answer) {
  for (;;) {
    uint64_t length = 0;
    if (!read_exactly(reinterpret_cast<char*>(&length), sizeof length)) return;
    std::string message(length, '\0');
    if (!read_exactly(message.data(), message.size())) return;
    const std::string said = answer(std::move(message));
    if (!write_all(length_in_front_of(said)) || !write_all(said)) return;
  }
}

}  // namespace spillway
