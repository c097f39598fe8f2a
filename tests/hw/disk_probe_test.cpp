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
    return {.io_queue = queue, .bytes_per_try = 2 * MiB, .seed = 7};
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
