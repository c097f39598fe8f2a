// SPDX-License-Identifier: MIT
#include "cli/interrupt.h"

#include <atomic>
#include <csignal>

#include "base/check.h"
#include "cli/end_by_signal.h"

namespace spillway {
namespace {

constexpr int kPressesMax = 3;

// Lock-free atomics are what a signal handler may touch.
std::atomic<int> g_count = 0;
std::atomic<Engine*> g_engine = nullptr;
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<Engine*>::is_always_lock_free);

void on_interrupt(int signal) {
  if (++g_count >= kPressesMax) end_by_signal(signal);
  if (Engine* engine = g_engine.load()) engine->abort();
}

}  // namespace

// SA_RESTART: reads of weights go on where they were. poll(), which chat waits with, is interrupted even so.
void install_interrupt_handler() {
  struct sigaction action = {};
  action.sa_handler = on_interrupt;
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
}

bool interrupted() { return g_count.load() > 0; }
void clear_interrupt() { g_count = 0; }

AbortOnInterrupt::AbortOnInterrupt(Engine& engine) { CHECK(g_engine.exchange(&engine) == nullptr); }
AbortOnInterrupt::~AbortOnInterrupt() { g_engine = nullptr; }

}  // namespace spillway
