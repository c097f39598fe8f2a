// SPDX-License-Identifier: MIT
#include "hw/timed_reads.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <vector>

#include "base/check.h"
#include "hw/full_queue.h"

namespace spillway {
namespace {

// Seldom: a fast disk's try is over before.
constexpr double kAskEvery_s = 0.25;

bool is_empty(const std::byte* data, uint32_t bytes) {
  constexpr uint32_t kSample = 256;
  const auto zeros = [](const std::byte* at, uint32_t n) {
    return std::all_of(at, at + n, [](std::byte b) { return b == std::byte{0}; });
  };
  return zeros(data, std::min(kSample, bytes)) && zeros(data + bytes / 2, std::min(kSample, bytes / 2));
}

// Whether another read is started.
class Course {
 public:
  explicit Course(const ReadTiming& timing) : timing_(timing) {}

  double elapsed_s() const { return timing_.now_s() - began_s_; }
  bool is_stopped() const { return is_stopped_; }
  bool goes_on() const { return !is_late_ && !is_stopped_; }

  // `done` of all reads at `at_s`.
  void look_up(double at_s, double done) {
    is_late_ = at_s >= timing_.limit_s;
    if (!goes_on() || !timing_.go_on || at_s < asks_at_s_) return;
    asks_at_s_ = at_s + kAskEvery_s;
    is_stopped_ = !timing_.go_on(done);
  }

 private:
  const ReadTiming& timing_;
  const double began_s_ = timing_.now_s();
  double asks_at_s_ = kAskEvery_s;
  bool is_late_ = false, is_stopped_ = false;
};

}  // namespace

uint64_t read_memory_bytes(unsigned depth, uint32_t read_bytes, uint64_t free_bytes) {
  return std::max(uint64_t{depth} * read_bytes, std::min(free_bytes, kReadMemoryBytes));
}

Result<Region> read_memory(uint64_t bytes) {
  // Whole huge pages, as most of what is streamed into: the rest of one is 4 KiB pages anywhere in memory, and a read
  // of 1 MiB into those is 254 segments (behind virtio 1.2 GB/s instead of 3.2 with four reads in flight).
  ASSIGN_OR_RETURN(Region memory, Region::allocate(round_up(bytes, kHugePageBytes), 0));
  std::memset(memory.data(), 0, memory.bytes());  // page faults before a clock starts
  return memory;
}

Result<TimedReads> read_timed(IoQueue& queue, std::span<const ReadAt> where, uint32_t read_bytes, const Region& memory,
                              const ReadTiming& timing) {
  const uint64_t n_parts = memory.bytes() / read_bytes;
  CHECK(n_parts >= queue.depth());
  std::deque<uint64_t> free_parts;  // the one that was read longest ago in front
  for (uint64_t part = 0; part < n_parts; ++part) free_parts.push_back(part);
  std::vector<size_t> read_of_part(n_parts);
  std::vector<ReadOutcome> done;
  size_t next = 0;
  const auto submit = [&] {
    const uint64_t part = free_parts.front();
    free_parts.pop_front();
    read_of_part[part] = next;
    const ReadAt& at = where[next++];
    queue.submit({at.file, at.offset, memory.data() + part * read_bytes, read_bytes, part});
  };
  TimedReads timed;
  Result<void> outcome;
  FullQueue full;
  Course course(timing);
  while (queue.in_flight() < queue.depth() && next < where.size()) submit();
  while (queue.in_flight() > 0) {
    done.clear();
    queue.wait(done);
    const double now_s = course.elapsed_s();
    timed.reads += done.size();
    if (next < where.size())
      course.look_up(now_s, static_cast<double>(timed.reads) / static_cast<double>(where.size()));
    const bool is_more = next < where.size() && course.goes_on();
    if (is_more) full.add(done.size(), now_s);
    for (const ReadOutcome& read : done) {
      if (read.result != static_cast<int64_t>(read_bytes) && outcome)
        outcome = error(
            Code::kIo,
            fmt::format("{}: a read failed while measuring the disk: {}", where[read_of_part[read.tag]].file->path(),
                        read.result < 0 ? std::strerror(static_cast<int>(-read.result)) : "short read"));
      timed.empty_reads += is_empty(memory.data() + read.tag * read_bytes, read_bytes);
      free_parts.push_back(read.tag);
      if (outcome && is_more && next < where.size()) submit();
    }
  }
  if (!outcome) return Failure(outcome.error());
  if (course.is_stopped()) return error(Code::kCancelled, "measuring the disk was stopped");
  // Of few reads, too few come while the queue is full to say anything; then all of them count.
  const bool is_long = full.reads() > 0 && full.reads() >= timed.reads / 2;
  const double reads_per_s = is_long ? full.reads_per_s() : static_cast<double>(timed.reads) / course.elapsed_s();
  timed.bytes_per_s = reads_per_s * read_bytes;
  return timed;
}

}  // namespace spillway
