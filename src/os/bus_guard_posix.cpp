// SPDX-License-Identifier: MIT
#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>

#include <array>
#include <atomic>
#include <mutex>
#include <optional>

#include "base/bytes.h"
#include "base/check.h"
#include "os/bus_guard.h"

namespace spillway {
namespace {

// Read by the signal handler, so: fixed storage, atomics, no lock. A range is free while `bytes` is 0.
struct GuardedRange {
  std::atomic<uintptr_t> begin{0};
  std::atomic<uint64_t> bytes{0};
};
std::array<GuardedRange, BusGuard::kRangesMax> g_ranges;
std::atomic<uint64_t> g_lost{0};
struct sigaction g_previous;

void on_bus_error(int signal, siginfo_t* info, void* context) {
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  for (const GuardedRange& guarded : g_ranges) {
    const uint64_t bytes = guarded.bytes.load();
    const uintptr_t begin = guarded.begin.load();
    if (bytes == 0 || address < begin || address >= begin + bytes) continue;
    void* page = static_cast<std::byte*>(info->si_addr) - address % kPageBytes;
    if (::mmap(page, kPageBytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) break;
    g_lost.fetch_add(1);
    return;  // the touch is tried again and reads zeros
  }
  if ((g_previous.sa_flags & SA_SIGINFO) != 0 && g_previous.sa_sigaction != nullptr)
    return g_previous.sa_sigaction(signal, info, context);
  if (g_previous.sa_handler != SIG_DFL && g_previous.sa_handler != SIG_IGN && g_previous.sa_handler != nullptr)
    return g_previous.sa_handler(signal);
  ::signal(signal, SIG_DFL);  // not ours: let it kill us where it happened
}

void install() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action {};
    action.sa_sigaction = on_bus_error;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    CHECK(::sigaction(SIGBUS, &action, &g_previous) == 0);
  });
}

// The place it was given, if there was one.
std::optional<size_t> guard_range(const AddressRange& range) {
  for (size_t place = 0; place < g_ranges.size(); ++place) {
    GuardedRange& guarded = g_ranges[place];
    uintptr_t unused = 0;
    if (guarded.begin.load() != unused) continue;
    if (!guarded.begin.compare_exchange_strong(unused, reinterpret_cast<uintptr_t>(range.begin))) continue;
    guarded.bytes = range.bytes;
    return place;
  }
  return std::nullopt;
}

}  // namespace

Result<std::unique_ptr<BusGuard>> BusGuard::over(const std::vector<AddressRange>& ranges) {
  install();
  std::unique_ptr<BusGuard> guard(new BusGuard());
  guard->places_.reserve(ranges.size());
  for (const AddressRange& range : ranges) {
    const auto place = guard_range(range);
    if (!place)
      return error(Code::kBusy,
                   fmt::format("the models that are loaded have {} files together, with the {} of this one "
                               "more than {}; unload one of them",
                               kRangesMax - guard->places_.size(), ranges.size(), kRangesMax));
    guard->places_.push_back(*place);
  }
  return guard;
}

BusGuard::~BusGuard() {
  for (const size_t place : places_) {
    g_ranges[place].bytes = 0;
    g_ranges[place].begin = 0;
  }
}

uint64_t BusGuard::lost_touches() { return g_lost.load(); }

}  // namespace spillway
