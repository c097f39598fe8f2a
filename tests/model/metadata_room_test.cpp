// SPDX-License-Identifier: MIT
#include "model/metadata_room.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <utility>
#include <vector>

namespace spillway {
namespace {

using Use = MetadataRoom::Use;

TEST(MetadataRoom, AllWhoHaveSomeHaveNoMoreThanThereIs) {
  constexpr int kThreads = 8, kTimes = 200;
  constexpr int64_t kShares = 4;
  std::atomic<int64_t> taken = 0, most = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&, shares = 1 + t % kShares] {
      for (int i = 0; i < kTimes; ++i) {
        const MetadataRoom room(Use::kRead, MetadataRoom::kAllBytes / kShares * static_cast<uint64_t>(shares));
        const int64_t now = taken += shares;
        for (int64_t before = most; before < now && !most.compare_exchange_weak(before, now);) continue;
        taken -= shares;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(most, kShares);
  EXPECT_EQ(taken, 0);
}

TEST(MetadataRoom, WhoWantsMoreThanThereIsHasAllOfIt) {
  for (int i = 0; i < 2; ++i) const MetadataRoom room(Use::kShow, UINT64_MAX);
}

TEST(MetadataRoom, WhoReadsDoesNotWaitForWhoIsShown) {
  const MetadataRoom shown(Use::kShow, MetadataRoom::kAllBytes);
  const MetadataRoom read(Use::kRead, MetadataRoom::kAllBytes);
}

TEST(MetadataRoom, IsGivenBackOnceByWhoHasItLast) {
  MetadataRoom first(Use::kRead, MetadataRoom::kAllBytes / 2);
  {
    MetadataRoom second(std::move(first));
    MetadataRoom third(Use::kRead, 1);
    third = std::move(second);
  }
  const MetadataRoom all(Use::kRead, MetadataRoom::kAllBytes);
}

}  // namespace
}  // namespace spillway
