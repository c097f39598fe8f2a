// SPDX-License-Identifier: MIT
#include "os/file_sim.h"

#include <gmock/gmock.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "os/memory.h"

namespace spillway {
namespace {

using testing::Each;
using testing::ElementsAre;

constexpr uint64_t kFileBytes = 64 * kPageBytes + 100;

// A disk with one file, and a queue with memory to read it into.
class SimDiskTest : public testing::Test {
 protected:
  std::byte* memory_at(uint64_t tag) { return memory_.data() + tag * 2 * kPageBytes; }
  ReadRequest request(uint64_t tag, uint64_t bytes = 2 * kPageBytes) {
    return {.file = file_.get(),
            .offset = tag * 2 * kPageBytes,
            .destination = memory_at(tag),
            .bytes = static_cast<uint32_t>(bytes),
            .tag = tag};
  }
  // Reads [tag * 8 KiB, +8 KiB) for tags 0..count-1 and gives the outcomes in their order.
  std::vector<ReadOutcome> read(uint64_t count) {
    std::vector<ReadOutcome> done;
    for (uint64_t tag = 0; tag < count; ++tag) queue_->submit(request(tag));
    while (queue_->in_flight() > 0) queue_->wait(done);
    return done;
  }
  bool holds_content(uint64_t tag, uint64_t bytes) {
    for (uint64_t i = 0; i < bytes; ++i)
      if (memory_at(tag)[i] != SimDisk::content_at(*file_, tag * 2 * kPageBytes + i)) return false;
    return true;
  }

  SimDisk disk_{{.seed = 7}};
  const std::unique_ptr<File> file_ = disk_.make_file(kFileBytes);
  const std::unique_ptr<IoQueue> queue_ = disk_.open_queue(33);
  const Region memory_ = Region::allocate(68 * kPageBytes, 0).value();
};

std::vector<uint64_t> tags_of(const std::vector<ReadOutcome>& outcomes) {
  std::vector<uint64_t> tags;
  for (const ReadOutcome& outcome : outcomes) tags.push_back(outcome.tag);
  return tags;
}

TEST_F(SimDiskTest, MappingReadAtRingAndContentAtAgree) {
  const auto* mapping =
      static_cast<const std::byte*>(::mmap(nullptr, kFileBytes, PROT_READ, MAP_SHARED, file_->map_fd(), 0));
  ASSERT_NE(mapping, MAP_FAILED);
  std::vector<std::byte> buffered(kFileBytes + 50);
  EXPECT_EQ(file_->read_at(0, buffered).value(), kFileBytes);
  EXPECT_EQ(std::memcmp(mapping, buffered.data(), kFileBytes), 0);
  read(33);
  for (uint64_t i = 0; i < kFileBytes; ++i) {
    ASSERT_EQ(SimDisk::content_at(*file_, i), mapping[i]) << i;
    ASSERT_EQ(memory_.data()[i], mapping[i]) << i;
  }
  ::munmap(const_cast<std::byte*>(mapping), kFileBytes);
}

TEST_F(SimDiskTest, ContentIsTheSameForASeedAndDiffersByFile) {
  SimDisk same{{.seed = 7}}, other{{.seed = 8}};
  const auto same_file = same.make_file(kPageBytes), second_file = same.make_file(kPageBytes);
  const auto other_file = other.make_file(kPageBytes);
  int equal_second = 0, equal_other = 0;
  for (uint64_t i = 0; i < kPageBytes; ++i) {
    ASSERT_EQ(SimDisk::content_at(*same_file, i), SimDisk::content_at(*file_, i));
    equal_second += SimDisk::content_at(*second_file, i) == SimDisk::content_at(*file_, i);
    equal_other += SimDisk::content_at(*other_file, i) == SimDisk::content_at(*file_, i);
  }
  EXPECT_LT(equal_second, 100);
  EXPECT_LT(equal_other, 100);
}

TEST_F(SimDiskTest, ReadsCompleteOutOfOrderTheSameWayForASeed) {
  const std::vector<uint64_t> order = tags_of(read(33));
  EXPECT_FALSE(std::is_sorted(order.begin(), order.end()));
  std::vector<uint64_t> sorted = order;
  std::sort(sorted.begin(), sorted.end());
  for (uint64_t i = 0; i < 33; ++i) EXPECT_EQ(sorted[i], i);

  SimDisk again{{.seed = 7}};
  const auto file = again.make_file(kFileBytes);
  const auto queue = again.open_queue(33);
  std::vector<ReadOutcome> done;
  for (uint64_t tag = 0; tag < 33; ++tag) {
    ReadRequest one = request(tag);
    one.file = file.get();
    queue->submit(one);
  }
  while (queue->in_flight() > 0) queue->wait(done);
  EXPECT_EQ(tags_of(done), order);
}

TEST_F(SimDiskTest, AWindowOfOneKeepsTheOrder) {
  disk_.options().reorder_window = 1;
  const std::vector<uint64_t> order = tags_of(read(20));
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TEST_F(SimDiskTest, EveryNthReadFailsAndLeavesGarbage) {
  disk_.options().reorder_window = 1;
  disk_.options().fault_every_nth = 3;
  const std::vector<ReadOutcome> done = read(9);
  for (uint64_t i = 0; i < 9; ++i) {
    const bool fails = i % 3 == 2;
    EXPECT_EQ(done[i].result, fails ? -EIO : static_cast<int64_t>(2 * kPageBytes)) << i;
    EXPECT_EQ(holds_content(i, 2 * kPageBytes), !fails) << i;
  }
  EXPECT_EQ(*memory_at(2), kSimGarbage);
  EXPECT_EQ(disk_.reads_done(), 9u);
  EXPECT_EQ(disk_.bytes_read(), 6 * 2 * kPageBytes);
}

TEST_F(SimDiskTest, TheRetryOfAFailedReadCountsAsANewOne) {
  disk_.options().fault_every_nth = 2;
  std::vector<int64_t> results;
  for (int attempt = 0; attempt < 4; ++attempt) results.push_back(read(1)[0].result);
  EXPECT_THAT(results, ElementsAre(2 * kPageBytes, -EIO, 2 * kPageBytes, -EIO));
}

TEST_F(SimDiskTest, EveryNthReadIsCutInHalf) {
  disk_.options().reorder_window = 1;
  disk_.options().short_every_nth = 2;
  const std::vector<ReadOutcome> done = read(2);
  EXPECT_EQ(done[0].result, static_cast<int64_t>(2 * kPageBytes));
  EXPECT_EQ(done[1].result, static_cast<int64_t>(kPageBytes));
  EXPECT_TRUE(holds_content(1, kPageBytes));
  EXPECT_EQ(memory_at(1)[kPageBytes], kSimGarbage);
}

TEST_F(SimDiskTest, HalfOfOnePageIsNothing) {
  disk_.options().short_every_nth = 1;
  queue_->submit(request(0, kPageBytes));
  std::vector<ReadOutcome> done;
  queue_->wait(done);
  EXPECT_EQ(done[0].result, 0);
}

TEST_F(SimDiskTest, FailAllFailsEveryReadUntilItIsTakenBack) {
  disk_.options().fail_all = true;
  for (const ReadOutcome& outcome : read(5)) EXPECT_EQ(outcome.result, -EIO);
  disk_.options().fail_all = false;
  for (const ReadOutcome& outcome : read(5)) EXPECT_EQ(outcome.result, static_cast<int64_t>(2 * kPageBytes));
}

TEST_F(SimDiskTest, AReadAcrossTheEndIsShort) {
  const std::vector<ReadOutcome> done = read(33);
  for (const ReadOutcome& outcome : done)
    EXPECT_EQ(outcome.result, outcome.tag == 32 ? 100 : static_cast<int64_t>(2 * kPageBytes));
}

TEST_F(SimDiskTest, AShrunkFileReportsChangedAndReadsEmptyBehindItsEnd) {
  EXPECT_TRUE(file_->check_unchanged());
  disk_.shrink_files_to(3 * kPageBytes);
  ASSERT_FALSE(file_->check_unchanged());
  EXPECT_EQ(file_->check_unchanged().error().code(), Code::kChanged);
  for (const ReadOutcome& outcome : read(3)) {
    const int64_t expected[] = {2 * kPageBytes, kPageBytes, 0};
    EXPECT_EQ(outcome.result, expected[outcome.tag]);
  }
}

TEST_F(SimDiskTest, TheHookRunsBeforeTheBytesArrive) {
  std::vector<uint64_t> seen;
  disk_.options().before_read = [&](const ReadRequest& one) {
    EXPECT_EQ(*one.destination, std::byte{0});
    seen.push_back(one.tag);
  };
  EXPECT_EQ(tags_of(read(4)), seen);
}

TEST_F(SimDiskTest, ClosingARingDeliversWhatIsInFlight) {
  auto queue = disk_.open_queue(2);
  queue->submit(request(0));
  queue->submit(request(1));
  queue.reset();
  EXPECT_TRUE(holds_content(0, 2 * kPageBytes));
  EXPECT_TRUE(holds_content(1, 2 * kPageBytes));
}

TEST_F(SimDiskTest, UnalignedReadsAreABug) {
  ReadRequest crooked = request(0);
  crooked.offset = 512;
  EXPECT_DEATH(queue_->submit(crooked), "is_aligned");
  crooked = request(0);
  crooked.destination += 1;
  EXPECT_DEATH(queue_->submit(crooked), "is_aligned");
}

}  // namespace
}  // namespace spillway
