// SPDX-License-Identifier: MIT
#include "os/bus_guard.h"

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/mman.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "os/file.h"
#include "temp_folder.h"

namespace spillway {
namespace {

// A mapped file of four pages of 'a' that then loses the last two.
class ShrunkMapping : public testing::Test {
 protected:
  ShrunkMapping() {
    mapped_ = static_cast<std::byte*>(::mmap(nullptr, 4 * kPageBytes, PROT_READ, MAP_SHARED, file_->map_fd(), 0));
    EXPECT_NE(mapped_, MAP_FAILED);
    std::filesystem::resize_file(file_->path(), 2 * kPageBytes);
  }
  ~ShrunkMapping() override { ::munmap(mapped_, 4 * kPageBytes); }

  std::byte touch(uint64_t page) const { return *const_cast<volatile std::byte*>(mapped_ + page * kPageBytes + 7); }

  TempFolder folder_;
  const std::unique_ptr<File> file_ = open_file(folder_.write("model.gguf", std::string(4 * kPageBytes, 'a'))).value();
  std::byte* mapped_ = nullptr;
};

TEST_F(ShrunkMapping, ReadsZerosWhereItIsLostAndCountsThem) {
  const auto guard = BusGuard::over({{mapped_, 4 * kPageBytes}});
  ASSERT_TRUE(guard);
  const uint64_t before = BusGuard::lost_touches();
  EXPECT_EQ(touch(1), std::byte{'a'});
  EXPECT_EQ(BusGuard::lost_touches(), before);
  EXPECT_EQ(touch(2), std::byte{0});
  EXPECT_EQ(BusGuard::lost_touches(), before + 1);
  EXPECT_EQ(touch(2), std::byte{0});  // no fault any more
  EXPECT_EQ(touch(3), std::byte{0});
  EXPECT_EQ(BusGuard::lost_touches(), before + 2);
}

using ShrunkMappingDeathTest = ShrunkMapping;

TEST_F(ShrunkMappingDeathTest, OutsideOfTheGuardedRangesATouchStillKills) {
  const auto guard = BusGuard::over({{mapped_, 3 * kPageBytes}});
  ASSERT_TRUE(guard);
  EXPECT_DEATH(touch(3), "");
}

TEST_F(ShrunkMappingDeathTest, AfterTheGuardATouchKillsAgain) {
  ASSERT_TRUE(BusGuard::over({{mapped_, 4 * kPageBytes}}));
  EXPECT_DEATH(touch(3), "");
}

TEST_F(ShrunkMapping, GuardsCanBeMadeAndDroppedForever) {
  for (int i = 0; i < 500; ++i)
    ASSERT_TRUE(BusGuard::over({{mapped_, kPageBytes}, {mapped_ + kPageBytes, kPageBytes}}));
}

TEST_F(ShrunkMapping, MoreRangesThanThereIsRoomForAreAnErrorAndTakeNone) {
  // Addresses that nothing touches.
  const auto ranges = [](uint64_t first, size_t n) {
    std::vector<AddressRange> all;
    for (size_t i = 0; i < n; ++i) all.push_back({reinterpret_cast<std::byte*>((first + i) * kPageBytes), kPageBytes});
    return all;
  };
  const auto most = BusGuard::over(ranges(1, BusGuard::kRangesMax - 10));
  ASSERT_TRUE(most);
  for (int i = 0; i < 2; ++i) {
    const auto refused = BusGuard::over(ranges(100'000, 20));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), Code::kBusy);
  }
  ASSERT_TRUE(BusGuard::over(ranges(100'000, 10)));
}

}  // namespace
}  // namespace spillway
