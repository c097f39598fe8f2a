// SPDX-License-Identifier: MIT
#include "os/settle_memory.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "os/machine.h"
#include "os/memory.h"

namespace spillway {
namespace {

constexpr uint64_t kPieceBytes = 16 * MiB;
constexpr auto kTick = std::chrono::milliseconds(100);

}  // namespace

Result<double> settle_memory(uint64_t bytes, unsigned n_threads, const std::function<bool(double)>& on_progress) {
  const uint64_t available_bytes = memory_state().available_bytes / 10 * 9;
  const uint64_t n_pieces = round_up(std::min(bytes, available_bytes), kPieceBytes) / kPieceBytes;
  if (n_pieces == 0) return error(Code::kOutOfBudget, "no memory is available");
  ASSIGN_OR_RETURN(const Region region, Region::allocate(n_pieces * kPieceBytes, 0));
  std::atomic<uint64_t> next{0}, done{0};
  const auto touch = [&] {
    for (uint64_t piece = next++; piece < n_pieces; piece = next++) {
      // Through a volatile: nobody reads what is written.
      volatile std::byte* begin = region.data() + piece * kPieceBytes;
      for (uint64_t at = 0; at < kPieceBytes; at += kPageBytes) begin[at] = std::byte{1};
      ++done;
    }
  };
  const Stopwatch watch;
  bool stopped = false;
  {
    std::vector<std::jthread> threads;
    for (unsigned t = 0; t < std::max(n_threads, 1u); ++t) threads.emplace_back(touch);
    for (uint64_t touched = 0; touched < n_pieces && !stopped;) {
      std::this_thread::sleep_for(kTick);
      touched = done;
      stopped = on_progress && !on_progress(static_cast<double>(touched) / static_cast<double>(n_pieces));
      if (stopped) next = n_pieces;
    }
  }
  if (stopped) return error(Code::kCancelled, "stopped");
  return watch.elapsed_s() / static_cast<double>(n_pieces * kPieceBytes);
}

}  // namespace spillway
