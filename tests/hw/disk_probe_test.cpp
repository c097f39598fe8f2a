// SPDX-License-Identifier: MIT
#include "hw/disk_probe.h"

#include <gmock/gmock.h>

#include <cmath>
#include <map>
#include <mutex>
#include <set>

#include "../os/temp_folder.h"
#include "base/bytes.h"
#include "hw/timed_reads.h"
#include "os/file_sim.h"

namespace spillway {
namespace {

using testing::AllOf;
using testing::AnyOf;
using testing::Ge;
using testing::HasSubstr;
using testing::Le;

class DiskProbe : public testing::Test {
 protected:
  std::unique_ptr<File> file_of(uint64_t bytes) {
    return open_file(folder_.write("weights", random_bytes(bytes, 1))).value();
  }
  static DiskProbeOptions quickly(IoQueueKind queue = IoQueueKind::kBest) {
    return {.bytes_per_try = 2 * MiB, .seed = 7, .open_queue = [queue](unsigned depth) {
              return open_io_queue(queue, depth);
            }};
  }
  static void expect_plausible(const DiskProfile& profile) {
    EXPECT_GT(profile.disk_bytes_per_s, 0);
    EXPECT_TRUE(std::isfinite(profile.disk_bytes_per_s));
    EXPECT_GT(profile.read_bytes, 0u);
    EXPECT_LE(profile.read_bytes, 1 * MiB);
    EXPECT_EQ(profile.read_bytes % kPageBytes, 0u);
    EXPECT_THAT(profile.depth, AnyOf(8u, 16u, 32u));
  }

  TempFolder folder_;
};

TEST_F(DiskProbe, FindsASizeADepthAndABandwidth) {
  const auto file = file_of(8 * MiB + 123);
  const auto profile = probe_disk(*file, quickly());
  ASSERT_TRUE(profile) << profile.error().message();
  expect_plausible(*profile);
  EXPECT_EQ(profile->direct, file->is_direct());
  EXPECT_THAT(profile->io_queue, AnyOf("io_uring", "threads"));
}

TEST_F(DiskProbe, WorksWithThreadsToo) {
  const auto file = file_of(8 * MiB);
  const auto profile = probe_disk(*file, quickly(IoQueueKind::kThreads));
  ASSERT_TRUE(profile) << profile.error().message();
  expect_plausible(*profile);
  EXPECT_EQ(profile->io_queue, "threads");
}

TEST_F(DiskProbe, AFileTooSmallIsRefusedByName) {
  for (const uint64_t bytes : {uint64_t{0}, uint64_t{1}, kPageBytes, 20 * KiB}) {
    const auto file = file_of(bytes);
    const auto profile = probe_disk(*file, quickly());
    ASSERT_FALSE(profile) << bytes;
    EXPECT_EQ(profile.error().code(), Code::kInvalidArgument);
    EXPECT_THAT(profile.error().message(), AllOf(HasSubstr(file->path()), HasSubstr("too small to measure")));
  }
}

// On a simulated disk that takes its time, by a simulated clock.
class TimedDisk : public testing::Test {
 protected:
  DiskProbeOptions options() {
    DiskProbeOptions options;
    options.open_queue = [this](unsigned depth) -> Result<std::unique_ptr<IoQueue>> {
      depths_.insert(depth);
      return disk_.open_queue(depth);
    };
    options.now_s = [this] { return now_s_; };
    return options;
  }

  double now_s_ = 0, bytes_per_s_ = 0;
  double first_read_s_ = 0;  // beside its bytes
  std::set<unsigned> depths_;
  std::map<uint32_t, int> reads_of_size_;
  SimDisk disk_{{.before_read = [this](const ReadRequest& request) {
    now_s_ += request.bytes / bytes_per_s_ + (reads_of_size_.empty() ? first_read_s_ : 0);
    ++reads_of_size_[request.bytes];
  }}};
  const std::unique_ptr<File> file_ = disk_.make_file(80 * MiB);
  const uint32_t read_bytes_max_ = disk_read_bytes_max(file_->path());
};

TEST_F(TimedDisk, AFastOneIsReadAsFarInEveryTry) {
  bytes_per_s_ = 3e9;
  const auto profile = probe_disk(*file_, options());
  ASSERT_TRUE(profile) << profile.error().message();
  EXPECT_NEAR(profile->disk_bytes_per_s, 3e9, 1e7);
  EXPECT_EQ(profile->depth, 32u);
  const uint64_t bytes = options().bytes_per_try;
  const auto half = static_cast<uint32_t>(round_down(read_bytes_max_ / 2, kPageBytes));
  EXPECT_EQ(reads_of_size_[half], static_cast<int>(3 * (bytes / half)));
  EXPECT_EQ(reads_of_size_[read_bytes_max_], static_cast<int>(3 * (bytes / read_bytes_max_)));
}

TEST_F(TimedDisk, ASlowOneIsMeasuredInAboutTheTimeGiven) {
  for (const double bytes_per_s : {20e6, 60e6, 150e6, 550e6}) {
    bytes_per_s_ = bytes_per_s;
    const double began_s = now_s_;
    const auto profile = probe_disk(*file_, options());
    ASSERT_TRUE(profile) << profile.error().message();
    EXPECT_NEAR(profile->disk_bytes_per_s, bytes_per_s, 0.01 * bytes_per_s);
    // The queue of the second try is read whatever it takes.
    EXPECT_LT(now_s_ - began_s, 0.8) << bytes_per_s;
  }
}

TEST_F(TimedDisk, NoMoreThanTwoQueuesAreReadOfTheSlowest) {
  bytes_per_s_ = 1e6;
  ASSERT_TRUE(probe_disk(*file_, options()));
  EXPECT_LE(disk_.bytes_read(), 8 * (read_bytes_max_ / 2) + 8 * read_bytes_max_ + kPageBytes);
}

TEST_F(TimedDisk, OneThatHadToWakeIsNoSlowOne) {
  bytes_per_s_ = 1e9;
  first_read_s_ = 6;
  const auto profile = probe_disk(*file_, options());
  ASSERT_TRUE(profile);
  EXPECT_NEAR(profile->disk_bytes_per_s, 1e9, 1e7);
  EXPECT_THAT(depths_, testing::IsSupersetOf({8u, 16u, 32u}));
  EXPECT_EQ(profile->depth, 32u);
}

// On the simulated disk, where every read is seen.
class MeasuredDisk : public testing::Test {
 protected:
  Result<double> measure(uint32_t read_bytes, uint64_t bytes, uint64_t start) {
    return measure_disk_bytes_per_s(*file_, *queue_, read_bytes, bytes, start, memory_);
  }

  std::multiset<uint64_t> offsets_;
  std::map<const std::byte*, int> destinations_;  // and how often
  SimDisk disk_{{.before_read = [this](const ReadRequest& request) {
    offsets_.insert(request.offset);
    ++destinations_[request.destination];
  }}};
  const Region memory_ = read_memory(2 * MiB).value();
  const std::unique_ptr<File> file_ = disk_.make_file(100 * kPageBytes + 77);
  const std::unique_ptr<IoQueue> queue_ = disk_.open_queue(3);
};

TEST_F(MeasuredDisk, ReadsEachOffsetOnceFromTheStartGiven) {
  const auto bytes_per_s = measure(4 * kPageBytes, 40 * kPageBytes, 8 * kPageBytes + 5);
  ASSERT_TRUE(bytes_per_s);
  EXPECT_GT(*bytes_per_s, 0);
  EXPECT_EQ(offsets_.size(), 10u);
  EXPECT_EQ(std::set<uint64_t>(offsets_.begin(), offsets_.end()).size(), 10u);
  EXPECT_EQ(*offsets_.begin(), 8 * kPageBytes);
}

TEST_F(MeasuredDisk, GoesOnAtTheBeginningWhenTheFileEnds) {
  ASSERT_TRUE(measure(4 * kPageBytes, 100 * kPageBytes, 90 * kPageBytes));
  EXPECT_EQ(offsets_.size(), 25u);
  EXPECT_EQ(*offsets_.begin(), 0u);
  EXPECT_EQ(*offsets_.rbegin(), 94 * kPageBytes);
}

TEST_F(MeasuredDisk, NeverReadsMoreThanTheFile) {
  ASSERT_TRUE(measure(4 * kPageBytes, 1 * GiB, UINT64_MAX));
  EXPECT_EQ(offsets_.size(), 25u);
}

// So few that their queue is never full, or that nothing came while it was.
TEST_F(MeasuredDisk, FewReadsHaveARateToo) {
  for (uint64_t n = 1; n <= 8; ++n) {
    const auto bytes_per_s = measure(4 * kPageBytes, n * 4 * kPageBytes, 0);
    ASSERT_TRUE(bytes_per_s);
    EXPECT_GT(*bytes_per_s, 0) << n;
    EXPECT_TRUE(std::isfinite(*bytes_per_s)) << n;
  }
}

TEST_F(MeasuredDisk, NothingIsStartedAfterItsTimeAndItsRateIsOfWhatWasRead) {
  double now_s = 0;
  disk_.options().before_read = [&](const ReadRequest& request) { now_s += request.bytes / 1e6; };
  const auto timed = [&](const ReadTiming& timing) {
    return measure_disk_bytes_per_s(*file_, *queue_, kPageBytes, 100 * kPageBytes, 0, memory_, timing);
  };
  for (const double limit_s : {0.0, 0.05, 0.2}) {
    const uint64_t reads_before = disk_.reads_done();
    const auto bytes_per_s = timed({.limit_s = limit_s, .now_s = [&] { return now_s; }});
    ASSERT_TRUE(bytes_per_s);
    EXPECT_NEAR(*bytes_per_s, 1e6, 1e4) << limit_s;
    EXPECT_LE(disk_.reads_done() - reads_before, static_cast<uint64_t>(limit_s * 1e6 / kPageBytes) + 2 * 3) << limit_s;
  }
}

TEST_F(MeasuredDisk, StopsWhenAskedWhileItReads) {
  double now_s = 0, asked = 0;
  disk_.options().before_read = [&](const ReadRequest&) { now_s += 0.1; };
  const ReadTiming timing{.go_on =
                              [&](double fraction) {
                                EXPECT_GT(fraction, asked);
                                EXPECT_LT(fraction, 1);
                                asked = fraction;
                                return fraction < 0.5;
                              },
                          .now_s = [&] { return now_s; }};
  const auto stopped = measure_disk_bytes_per_s(*file_, *queue_, kPageBytes, 100 * kPageBytes, 0, memory_, timing);
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code(), Code::kCancelled);
  EXPECT_EQ(queue_->in_flight(), 0u);
  EXPECT_LT(disk_.reads_done(), 70u);
}

TEST_F(MeasuredDisk, AReadThatFailsFailsTheMeasurement) {
  disk_.options().fault_every_nth = 5;
  const auto failed = measure(4 * kPageBytes, 80 * kPageBytes, 0);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code(), Code::kIo);
  EXPECT_THAT(failed.error().message(), AllOf(HasSubstr("sim:/0"), HasSubstr("Input/output error")));
  EXPECT_EQ(queue_->in_flight(), 0u);
  disk_.options().fault_every_nth = 0;
  disk_.options().short_every_nth = 2;
  EXPECT_THAT(measure(4 * kPageBytes, 80 * kPageBytes, 0).error().message(), HasSubstr("short read"));
}

// What is read again and again to the same place stays in caches, and is no measure of what streams.
TEST_F(MeasuredDisk, ReadsGoToAllOfTheMemoryInTurn) {
  const uint32_t read_bytes = 4 * kPageBytes;
  const uint64_t n_parts = memory_.bytes() / read_bytes;
  ASSERT_EQ(n_parts, 128u);
  const std::unique_ptr<File> large = disk_.make_file(3 * n_parts * read_bytes);
  ASSERT_TRUE(measure_disk_bytes_per_s(*large, *queue_, read_bytes, large->size_bytes(), 0, memory_));
  EXPECT_EQ(destinations_.size(), n_parts);
  for (const auto& [destination, n] : destinations_) EXPECT_THAT(n, AllOf(Ge(2), Le(4)));
}

TEST(ReadMemory, IsAsMuchAsThereIsToSpareAndHoldsWhatIsInFlight) {
  EXPECT_EQ(read_memory_bytes(8, MiB, 100 * GiB), kReadMemoryBytes);
  EXPECT_EQ(read_memory_bytes(8, MiB, 20 * MiB), 20 * MiB);
  EXPECT_EQ(read_memory_bytes(8, MiB, 0), 8 * MiB);
  EXPECT_EQ(read_memory_bytes(256, MiB, 20 * MiB), 256 * MiB);
}

TEST_F(MeasuredDisk, AFileSmallerThanOneReadIsRefused) {
  const auto refused = measure(101 * kPageBytes, 1 * MiB, 0);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace spillway
