// SPDX-License-Identifier: MIT
#include "store/fills.h"

#include <gmock/gmock.h>

#include <map>
#include <mutex>
#include <random>
#include <set>

#include "sim_model.h"

namespace spillway {
namespace {

using testing::HasSubstr;

constexpr uint64_t kFileBytes = 1 * MiB + 12345;

// Fills of one file, and what became of them.
class OneFile {
 public:
  explicit OneFile(SimDiskOptions options, unsigned n_workers = 2, Fills::Options fills = {}, unsigned depth = 4)
      : disk_(options), model_(disk_, {{1, kFileBytes - 4000}}), queue_(disk_.open_queue(depth)), workers_(n_workers) {
    if (fills.read_bytes == 0) fills.read_bytes = 4 * kPageBytes;
    fills_ = Fills::open(*queue_, workers_, fills, [this](uint64_t tag, const std::optional<Status>& failure) {
               const std::lock_guard lock(mu_);
               outcomes_.emplace(tag, failure);
             }).value();
  }

  const SimModel& model() const { return model_; }
  SimDisk& disk() { return disk_; }
  Fills& fills() { return *fills_; }
  void close() { fills_.reset(); }
  void finish() {
    do {
      fills_->submit();
      if (fills_->is_busy()) fills_->wait();
    } while (fills_->has_unsent() || fills_->is_busy());
  }
  std::map<uint64_t, std::optional<Status>> outcomes() {
    const std::lock_guard lock(mu_);
    return outcomes_;
  }

 private:
  SimDisk disk_;
  SimModel model_;
  std::unique_ptr<IoQueue> queue_;
  Workers workers_;
  std::unique_ptr<Fills> fills_;
  std::mutex mu_;
  std::map<uint64_t, std::optional<Status>> outcomes_;
};

// Memory for one fill, with room before and behind as slots have it.
struct Room {
  explicit Room(uint64_t bytes) : region(HugeArea::reserve(bytes + 4 * kPageBytes, kPageBytes).value()), bytes_(bytes) {
    CHECK(region.resize(bytes + 4 * kPageBytes));
  }
  std::byte* at(uint64_t data_offset) const { return region.data() + kPageBytes + data_offset; }
  HugeArea region;
  uint64_t bytes_;
};

struct Way {
  const char* name;
  ReadAlignment alignment;
};
class EveryAlignment : public testing::TestWithParam<Way> {};
INSTANTIATE_TEST_SUITE_P(Ways, EveryAlignment,
                         testing::Values(Way{"Pages", {4096, 4096}}, Way{"Sectors", {512, 512}},
                                         Way{"Shifted", {512, 4}}, Way{"Buffered", {1, 1}}),
                         [](const auto& way) { return way.param.name; });

TEST_P(EveryAlignment, ARangeIsReadToWhereItBelongs) {
  TRACE_SEED();
  std::mt19937_64 random(test_seed());
  const ReadAlignment alignment = GetParam().alignment;
  for (int round = 0; round < 30; ++round) {
    OneFile file({.seed = test_seed(), .alignment = alignment, .reorder_window = 5});
    const uint64_t offset = random() % (kFileBytes - 1);
    const ByteRange range{offset, 1 + random() % (kFileBytes - offset)};
    const Room room(range.bytes);
    const SlotShape shape = slot_shape(range, 1, {}, {.offset = alignment.offset, .memory = alignment.memory});
    ASSERT_EQ(shape.part_bytes, 0u) << "one range can always be read in place";
    file.fills().begin(
        {.tag = 1, .file = &file.model().file(), .pieces = {{.range = range, .to = room.at(shape.data_offset)}}});
    file.finish();
    ASSERT_EQ(file.outcomes().at(1), std::nullopt);
    ASSERT_TRUE(file.model().is_at(range, room.at(shape.data_offset))) << range.offset << " + " << range.bytes;
    ASSERT_LE(shape.data_offset + range.bytes, shape.room_bytes);
  }
}

TEST_P(EveryAlignment, PartsGoThroughABufferAndArePutInPlace) {
  TRACE_SEED();
  std::mt19937_64 random(test_seed());
  for (const unsigned n_workers : {0u, 1u, 3u}) {
    OneFile file({.seed = test_seed(), .alignment = GetParam().alignment}, n_workers,
                 {.buffer_bytes = 4 * 5 * kPageBytes, .part_bytes_max = 2 * kPageBytes, .place = place_backwards});
    const Room room(kFileBytes);
    std::map<uint64_t, ByteRange> ranges;
    for (uint64_t tag = 0; tag < 6; ++tag) {
      const ByteRange range{random() % 5000 + tag * 150000, 64 * (1 + random() % 2000)};
      ranges[tag] = range;
      file.fills().begin({.tag = tag,
                          .file = &file.model().file(),
                          .urgent = tag % 2 == 0,
                          .pieces = {{.range = range, .to = room.at(range.offset), .part_bytes = 2 * kPageBytes}}});
    }
    file.finish();
    for (const auto& [tag, range] : ranges) {
      ASSERT_EQ(file.outcomes().at(tag), std::nullopt);
      EXPECT_TRUE(is_backwards(file.model(), range, room.at(range.offset)));
    }
  }
}

// A form that can be made of a whole matrix alone, and a matrix of more than the kernel takes at once.
TEST_P(EveryAlignment, APartThatIsLongerThanOneReadIsReadInSeveral) {
  TRACE_SEED();
  std::mt19937_64 random(test_seed());
  for (const uint64_t short_every_nth : {0, 7}) {
    OneFile file({.seed = test_seed(), .short_every_nth = short_every_nth, .alignment = GetParam().alignment}, 2,
                 {.read_bytes = kPageBytes,
                  .part_bytes_max = kFileBytes,
                  .place = place_backwards,
                  .one_read_bytes_max = 3 * kPageBytes});
    const Room room(kFileBytes);
    for (uint64_t tag = 0; tag < 5; ++tag) {
      const uint64_t offset = random() % 5000;
      const ByteRange range{offset, (kFileBytes - offset) / 64 * 64};
      file.fills().begin({.tag = tag,
                          .file = &file.model().file(),
                          .pieces = {{.range = range, .to = room.at(0), .part_bytes = range.bytes}}});
      file.finish();
      ASSERT_EQ(file.outcomes().at(tag), std::nullopt);
      EXPECT_TRUE(is_backwards(file.model(), range, room.at(0)));
    }
  }
}

TEST(Fills, OfAPartInSeveralReadsTheOneThatFailedIsNamed) {
  OneFile file({}, 2,
               {.read_bytes = kPageBytes,
                .part_bytes_max = kFileBytes,
                .place = place_backwards,
                .one_read_bytes_max = 2 * kPageBytes});
  file.disk().shrink_files_to(20 * kPageBytes);
  const Room room(kFileBytes);
  file.fills().begin({.tag = 1,
                      .file = &file.model().file(),
                      .pieces = {{.range = {0, 64 * 8000}, .to = room.at(0), .part_bytes = 64 * 8000}}});
  file.finish();
  ASSERT_TRUE(file.outcomes().at(1));
  EXPECT_EQ(file.outcomes().at(1)->code(), Code::kChanged);
  EXPECT_THAT(file.outcomes().at(1)->message(), HasSubstr("the file ended early at 81920"));
}

TEST(Fills, PiecesThatAreInMemoryAreCopied) {
  OneFile file({.alignment = {1, 1}});
  const Room room(30000);
  const std::vector<std::byte> here(1000, std::byte{7});
  file.fills().begin({.tag = 1,
                      .file = &file.model().file(),
                      .pieces = {{.range = {10000, 500}, .to = room.at(0)},
                                 {.range = {}, .to = room.at(500), .from = here.data(), .from_bytes = here.size()},
                                 {.range = {11500, 20000}, .to = room.at(1500)}}});
  file.finish();
  ASSERT_EQ(file.outcomes().at(1), std::nullopt);
  EXPECT_TRUE(file.model().is_at({10000, 500}, room.at(0)));
  EXPECT_EQ(std::memcmp(room.at(500), here.data(), here.size()), 0);
  EXPECT_TRUE(file.model().is_at({11500, 20000}, room.at(1500)));
}

// Workers may be done with the last piece before whoever posted it goes on; without threads they always are.
TEST(Fills, OneThatEndsWithAPieceInMemoryIsNotLookedAtAgain) {
  OneFile file({.alignment = {1, 1}}, 0);
  const Room room(30000);
  const std::vector<std::byte> here(1000, std::byte{7});
  const Piece read{.range = {10000, 500}, .to = room.at(0)};
  const Piece copied{.range = {}, .to = room.at(500), .from = here.data(), .from_bytes = here.size()};
  file.fills().begin({.tag = 1, .file = &file.model().file(), .pieces = {copied}});
  file.fills().begin({.tag = 2, .file = &file.model().file(), .pieces = {copied, read}});
  file.fills().begin({.tag = 3, .file = &file.model().file(), .pieces = {read, copied}});
  file.finish();
  EXPECT_THAT(file.outcomes(), testing::SizeIs(3));
  EXPECT_TRUE(file.model().is_at({10000, 500}, room.at(0)));
  EXPECT_EQ(std::memcmp(room.at(500), here.data(), here.size()), 0);
}

TEST(Fills, WhatIsUrgentIsReadBeforeWhatWasBegunEarlier) {
  HeldDisk held;
  OneFile file(held.options(), 0, {.read_bytes = kPageBytes}, 1);
  const Room room(16 * kPageBytes), other(kPageBytes);
  file.fills().begin(
      {.tag = 1, .file = &file.model().file(), .pieces = {{.range = {0, 4 * kPageBytes}, .to = room.at(0)}}});
  file.fills().submit();  // its first page is on its way
  file.fills().begin({.tag = 2,
                      .file = &file.model().file(),
                      .urgent = true,
                      .pieces = {{.range = {40960, kPageBytes}, .to = other.at(0)}}});
  held.go_on();
  file.finish();
  EXPECT_THAT(held.offsets(), testing::ElementsAre(0u, 40960u, 4096u, 8192u, 12288u));
}

TEST(Fills, AFailedReadIsMadeTwiceAndThenSaysWhere) {
  OneFile file({.fail_all = true});
  const Room room(kFileBytes);
  file.fills().begin(
      {.tag = 5, .file = &file.model().file(), .pieces = {{.range = {0, kFileBytes}, .to = room.at(0)}}});
  file.finish();
  const auto failure = file.outcomes().at(5);
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->code(), Code::kIo);
  EXPECT_THAT(failure->message(), HasSubstr("sim:/0: reading at 0 failed"));
  EXPECT_LE(file.disk().reads_done(), 8u) << "nothing more of it is worth reading";
}

TEST(Fills, AFileThatEndsEarlyHasChanged) {
  OneFile file({});
  file.disk().shrink_files_to(100000);
  const Room room(kFileBytes);
  file.fills().begin(
      {.tag = 5, .file = &file.model().file(), .pieces = {{.range = {0, kFileBytes}, .to = room.at(0)}}});
  file.finish();
  ASSERT_TRUE(file.outcomes().at(5));
  EXPECT_EQ(file.outcomes().at(5)->code(), Code::kChanged);
}

// Faults of all kinds: each fill is right or has failed, each is told of once, and every buffer comes back.
TEST(Fills, RandomFaultsEndEveryFillOnce) {
  TRACE_SEED();
  std::mt19937_64 random(test_seed());
  OneFile file({.seed = test_seed(), .fault_every_nth = 9, .short_every_nth = 11, .alignment = {512, 512}}, 2,
               {.buffer_bytes = 6 * 5 * kPageBytes, .part_bytes_max = 2 * kPageBytes, .place = place_backwards}, 5);
  std::vector<std::unique_ptr<Room>> rooms;
  std::vector<ByteRange> ranges;
  std::vector<bool> staged;
  for (uint64_t tag = 0; tag < 300; ++tag) {
    const ByteRange range{512 * (random() % 1000), 64 * (1 + random() % 800)};
    ranges.push_back(range);
    staged.push_back(random() % 2 == 0);
    rooms.push_back(std::make_unique<Room>(range.bytes));
    file.fills().begin(
        {.tag = tag,
         .file = &file.model().file(),
         .urgent = random() % 3 == 0,
         .pieces = {{.range = range, .to = rooms.back()->at(0), .part_bytes = staged.back() ? 8192u : 0u}}});
    if (random() % 4 == 0) file.fills().submit();
    if (random() % 4 == 0 && file.fills().is_busy()) file.fills().wait();
  }
  file.finish();
  const auto outcomes = file.outcomes();
  ASSERT_EQ(outcomes.size(), 300u);
  int n_failed = 0;
  for (const auto& [tag, failure] : outcomes) {
    n_failed += failure.has_value();
    if (failure) continue;
    ASSERT_TRUE(staged[tag] ? is_backwards(file.model(), ranges[tag], rooms[tag]->at(0))
                            : file.model().is_at(ranges[tag], rooms[tag]->at(0)));
  }
  EXPECT_GT(n_failed, 0);
  EXPECT_LT(n_failed, 200);
}

TEST(Fills, ClosedInTheMiddleItWaitsForWhatIsUnderWay) {
  OneFile file({.alignment = {512, 512}}, 2,
               {.buffer_bytes = 100000, .part_bytes_max = 8192, .place = place_backwards});
  const Room room(kFileBytes);
  for (uint64_t tag = 0; tag < 8; ++tag)
    file.fills().begin(
        {.tag = tag,
         .file = &file.model().file(),
         .pieces = {{.range = {0, 64 * 8000}, .to = room.at(0), .part_bytes = tag % 2 == 0 ? 8192u : 0u}}});
  file.fills().submit();
  file.close();
  EXPECT_EQ(file.outcomes().size(), 8u);
}

}  // namespace
}  // namespace spillway
