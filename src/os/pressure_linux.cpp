// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "base/clock.h"
#include "os/cgroup_parse.h"
#include "os/file.h"
#include "os/pressure.h"

namespace spillway {
namespace {

// 10 ms of standing still within 2 s. Windows of whole seconds, two at a time, are what the kernel allows to everybody.
constexpr std::string_view kTrigger = "some 10000 2000000";

constexpr double kFindPlacesEvery_s = 1;

// Where the trigger may not be set the descriptor is invalid.
Fd open_trigger(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!fd.valid()) return fd;
  // With its terminating zero.
  if (::write(fd.get(), kTrigger.data(), kTrigger.size() + 1) < 0) return Fd();
  return fd;
}

}  // namespace

Result<PressureWatch> PressureWatch::open() {
  PressureWatch watch;
  watch.wake_ = Fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!watch.wake_.valid()) return error(Code::kIo, fmt::format("eventfd: {}", std::strerror(errno)));
  watch.places_ = memory_places_from(text_or_empty);
  watch.places_found_s_ = monotonic_s();
  watch.stalls_ = open_trigger(watch.places_.pressure_path);
  return watch;
}

MemoryPressure PressureWatch::look() {
  if (monotonic_s() - places_found_s_ >= kFindPlacesEvery_s) {
    places_ = memory_places_from(text_or_empty);
    places_found_s_ = monotonic_s();
  }
  return memory_pressure_from(text_or_empty, places_);
}

void PressureWatch::wait(std::chrono::milliseconds timeout) {
  std::array<pollfd, 2> fds{{{wake_.get(), POLLIN, 0}, {stalls_.get(), POLLPRI, 0}}};
  if (::poll(fds.data(), stalls_.valid() ? 2 : 1, static_cast<int>(timeout.count())) <= 0) return;
  if ((fds[1].revents & POLLERR) != 0) stalls_ = Fd();  // its cgroup was removed
  uint64_t ignored = 0;
  (void)!::read(wake_.get(), &ignored, sizeof ignored);
}

void PressureWatch::wake() const {
  const uint64_t one = 1;
  (void)!::write(wake_.get(), &one, sizeof one);
}

}  // namespace spillway
