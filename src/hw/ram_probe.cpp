// SPDX-License-Identifier: MIT
#include "hw/ram_probe.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <cstring>
#include <thread>

#include "base/bytes.h"
#include "base/clock.h"
#include "hw/agreement.h"
#include "os/machine.h"
#include "os/memory.h"
#include "os/task_limit.h"

namespace spillway {
namespace {

constexpr uint64_t kBytesMin = 32 * MiB, kBytesMax = 1 * GiB;
constexpr uint64_t kCachesMultiple = 8;  // what stays in the caches from round to round is then an eighth at most
constexpr int kPasses = 2, kRounds = 4;

// 16 bytes at a time in eight sums: enough loads in flight that memory, not the loop, is the limit.
uint64_t sum_of(const std::byte* begin, uint64_t bytes) {
  typedef uint64_t Pair __attribute__((vector_size(16), may_alias));
  constexpr uint64_t kUnroll = 8;
  Pair sums[kUnroll] = {};
  const auto* pairs = reinterpret_cast<const Pair*>(begin);
  const uint64_t n = bytes / sizeof(Pair) / kUnroll * kUnroll;
  for (uint64_t i = 0; i < n; i += kUnroll)
    for (uint64_t lane = 0; lane < kUnroll; ++lane) sums[lane] += pairs[i + lane];
  uint64_t total = 0;
  for (const Pair& sum : sums) total += sum[0] + sum[1];
  return total;
}

// Seconds of each round: from when the last thread is ready to when the last is done.
std::vector<double> timed_rounds(const Region& region, unsigned n_threads, int n_rounds) {
  const uint64_t share = round_down(region.bytes() / n_threads, kPageBytes);
  std::vector<double> seconds;
  double start_s = 0;
  bool starts = true;
  const auto note_time = [&]() noexcept {
    const double now_s = monotonic_s();
    if (!starts) seconds.push_back(now_s - start_s);
    start_s = now_s;
    starts = !starts;
  };
  seconds.reserve(static_cast<size_t>(n_rounds));
  std::barrier line(static_cast<std::ptrdiff_t>(n_threads), note_time);
  std::atomic<uint64_t> sum{0};  // keeps the reads from being optimized away
  const auto work = [&](unsigned thread) {
    std::byte* mine = region.data() + thread * share;
    std::memset(mine, 1, share);  // pages, before the clock starts, on the memory node of the thread that reads them
    for (int round = 0; round < n_rounds; ++round) {
      line.arrive_and_wait();
      sum += sum_of(mine, share);
      line.arrive_and_wait();
    }
  };
  std::vector<std::jthread> threads;
  for (unsigned thread = 1; thread < n_threads; ++thread) threads.emplace_back(work, thread);
  work(0);
  return seconds;
}

uint64_t bytes_to_read(uint64_t cache_bytes) {
  const uint64_t wanted = std::clamp(kCachesMultiple * cache_bytes, 256 * MiB, kBytesMax);
  return round_down(std::min(wanted, memory_state().available_bytes / 4), kHugePageBytes);
}

}  // namespace

Result<RamFigure> measure_ram(const RamProbeOptions& options) {
  const unsigned n_threads = std::max(options.n_threads, 1u);
  const uint64_t cache_bytes = last_level_cache_bytes();
  const uint64_t bytes = options.bytes > 0 ? options.bytes : bytes_to_read(cache_bytes);
  if (bytes < kBytesMin)
    return error(Code::kOutOfBudget, fmt::format("too little memory is free to measure its bandwidth; {} are needed",
                                                 format_bytes(4 * kBytesMin)));
  RETURN_IF_ERROR(try_threads(n_threads - 1));  // fewer would wait for each other for ever
  RamFigure figure;
  double passes[kPasses] = {};
  ASSIGN_OR_RETURN(const Region region, Region::allocate(round_down(bytes, kPageBytes), 0));
  const auto bytes_read = static_cast<double>(round_down(region.bytes() / n_threads, kPageBytes) * n_threads);
  for (double& pass : passes) {
    const std::vector<double> seconds = timed_rounds(region, n_threads, kRounds);
    pass = bytes_read / *std::min_element(seconds.begin(), seconds.end());
  }
  figure.ram_bytes_per_s = std::max(passes[0], passes[1]);
  if (const auto doubt = doubt_between_passes("memory", passes[0], passes[1], "something else uses the machine"))
    figure.doubts.push_back(*doubt);
  if (bytes < 2 * cache_bytes)
    figure.doubts.push_back(fmt::format("memory: only {} were free to read, which the caches ({}) may have served",
                                        format_bytes(bytes), format_bytes(cache_bytes)));
  return figure;
}

}  // namespace spillway
