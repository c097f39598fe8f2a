// SPDX-License-Identifier: MIT
#include <signal.h>
#include <sys/mman.h>

#include <array>
#include <atomic>
#include <mutex>

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
std::array<GuardedRange, 4096> g_ranges;
std::atomic<uint64_t> g_lost{0};
struct sigaction g_previous;

void on_bus_error(int signal, siginfo_t* info, void* context) {
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  for (const GuardedRange& guarded : g_ranges) {
    const uint64_t bytes = guarded.bytes.load();
    const uintptr_t begin = guarded.begin.load();
    if (bytes == 0 || address < begin || address >= begin + bytes) continue;
    void* page = reinterpret_cast<void*>(round_down(address, kPageBytes));
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

}  // namespace

BusGuard::BusGuard(std::vector<AddressRange> ranges) : ranges_(std::move(ranges)) {
  install();
  for (const AddressRange& range : ranges_) {
    bool placed = false;
    for (GuardedRange& guarded : g_ranges) {
      uintptr_t unused = 0;
      if (!guarded.begin.compare_exchange_strong(unused, reinterpret_cast<uintptr_t>(range.begin))) continue;
      guarded.bytes = range.bytes;
      placed = true;
      break;
    }
    CHECK(placed);
  }
}

BusGuard::~BusGuard() {
  for (const AddressRange& range : ranges_)
    for (GuardedRange& guarded : g_ranges) {
      if (guarded.begin.load() != reinterpret_cast<uintptr_t>(range.begin)) continue;
      guarded.bytes = 0;
      guarded.begin = 0;
    }
}

uint64_t BusGuard::lost_touches() { return g_lost.load(); }

}  // namespace spillway
