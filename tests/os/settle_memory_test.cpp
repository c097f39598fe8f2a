// SPDX-License-Identifier: MIT
#include "os/settle_memory.h"

#include <gtest/gtest.h>

#include "base/bytes.h"
#include "os/machine.h"

namespace spillway {
namespace {

TEST(SettleMemory, TouchesEveryPageAndGivesAllOfThemBack) {
  const uint64_t before_bytes = process_usage().rss_bytes;
  uint64_t rss_bytes_max = 0;
  const auto seconds_per_byte = settle_memory(256 * MiB, 2, [&](double) {
    rss_bytes_max = std::max(rss_bytes_max, process_usage().rss_bytes);
    return true;
  });
  ASSERT_TRUE(seconds_per_byte) << seconds_per_byte.error().message();
  EXPECT_GT(*seconds_per_byte, 0);
  EXPECT_GE(rss_bytes_max, before_bytes + 256 * MiB) << "the last look is when all is touched";
  EXPECT_LT(process_usage().rss_bytes, before_bytes + 64 * MiB);
}

TEST(SettleMemory, TakesNoMoreThanIsAvailable) {
  double last = 0;
  const auto stopped = settle_memory(UINT64_MAX / 2, 1, [&](double share) {
    last = share;
    return false;
  });
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code(), Code::kCancelled);
  EXPECT_LE(last, 1);
}

TEST(SettleMemory, OfNothingIsAnError) { EXPECT_EQ(settle_memory(0, 1, {}).error().code(), Code::kOutOfBudget); }

}  // namespace
}  // namespace spillway
