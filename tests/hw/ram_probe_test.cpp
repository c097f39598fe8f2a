// SPDX-License-Identifier: MIT
#include "hw/ram_probe.h"

#include <gmock/gmock.h>

#include <cmath>

#include "base/bytes.h"
#include "hw/agreement.h"

namespace spillway {
namespace {

using testing::HasSubstr;
using testing::Optional;

TEST(RamProbe, GivesABandwidthForAnyNumberOfThreads) {
  for (const unsigned n_threads : {1u, 3u}) {
    const auto figure = measure_ram({.n_threads = n_threads, .bytes = 64 * MiB});
    ASSERT_TRUE(figure) << figure.error().message();
    EXPECT_TRUE(std::isfinite(figure->ram_bytes_per_s));
    EXPECT_GT(figure->ram_bytes_per_s, 1e8);
    EXPECT_LT(figure->ram_bytes_per_s, 1e13);
  }
}

TEST(RamProbe, ACacheIsNotMeasuredInsteadOfMemory) {
  const auto refused = measure_ram({.n_threads = 1, .bytes = 1 * MiB});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kOutOfBudget);
}

TEST(Agreement, PassesThatAreCloseRaiseNoDoubt) {
  EXPECT_EQ(doubt_between_passes("disk", 100, 100, "why"), std::nullopt);
  EXPECT_EQ(doubt_between_passes("disk", 100, 81, "why"), std::nullopt);
  EXPECT_EQ(doubt_between_passes("disk", 0, 0, "why"), std::nullopt);
}

TEST(Agreement, PassesThatAreNotSayHowFarWhicheverWasFaster) {
  EXPECT_THAT(doubt_between_passes("disk", 100, 60, "why"),
              Optional(HasSubstr("disk: two passes differ by 40 %: why")));
  EXPECT_THAT(doubt_between_passes("disk", 60, 100, "why"), Optional(HasSubstr("40 %")));
}

}  // namespace
}  // namespace spillway
