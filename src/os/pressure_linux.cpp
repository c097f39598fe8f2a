// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

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
  watch.find_places();
  watch.stalls_ = open_trigger(watch.places_.pressure_path);
  return watch;
}

void PressureWatch::find_places() {
  places_found_s_ = monotonic_s();
  // Where no file can be opened, those that were found stand.
  if (!places_.levels.empty() && text_or_empty("/proc/self/mountinfo").empty()) return;
  places_ = memory_places_from(text_or_empty);
  usages_.clear();
  for (const MemoryPlaces::Level& place : places_.levels) {
    if (!limit_value(text_or_empty(place.folder + (place.v2 ? "/memory.max" : "/memory.limit_in_bytes")))) continue;
    const std::string path = place.folder + (place.v2 ? "/memory.current" : "/memory.usage_in_bytes");
    if (Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC)); file.valid()) usages_.push_back({.file = std::move(file)});
  }
}

// 0: the cgroup is gone.
uint64_t PressureWatch::used_bytes(const Usage& usage) {
  std::array<char, 32> text;
  const ssize_t n = ::pread(usage.file.get(), text.data(), text.size(), 0);
  return n > 0 ? limit_value({text.data(), static_cast<size_t>(n)}).value_or(0) : 0;
}

MemoryPressure PressureWatch::take_sample() {
  if (monotonic_s() - places_found_s_ >= kFindPlacesEvery_s) find_places();
  for (Usage& usage : usages_) usage.bytes = used_bytes(usage);
  const MemoryPressure now = memory_pressure_from(text_or_empty, places_);
  // No file could be opened, since all descriptors are taken (connections, the files of a model of thousands of parts).
  // That is not a machine without memory, for which everybody's weights would go and passes be broken off.
  if (now.memory.total_bytes == 0 && last_) return *last_;
  last_ = now;
  return now;
}

bool PressureWatch::has_risen(uint64_t bytes) const {
  return std::any_of(usages_.begin(), usages_.end(),
                     [&](const Usage& usage) { return used_bytes(usage) >= usage.bytes + bytes; });
}

bool PressureWatch::wait(std::chrono::milliseconds timeout) {
  std::array<pollfd, 2> fds{{{wake_.get(), POLLIN, 0}, {stalls_.get(), POLLPRI, 0}}};
  if (::poll(fds.data(), stalls_.valid() ? 2 : 1, static_cast<int>(timeout.count())) <= 0) return false;
  if ((fds[1].revents & POLLERR) != 0) stalls_ = Fd();  // its cgroup was removed
  uint64_t ignored = 0;
  (void)!::read(wake_.get(), &ignored, sizeof ignored);
  return true;
}

void PressureWatch::wake() const {
  const uint64_t one = 1;
  (void)!::write(wake_.get(), &one, sizeof one);
}

}  // namespace spillway
