// SPDX-License-Identifier: MIT
#include "cli/profile_table.h"

#include <gmock/gmock.h>

#include "../hw/sample_profile.h"

namespace spillway {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr int64_t kDay_s = 24 * 3600;

CurrentProfile sample(bool measured_now) {
  return {.profile = sample_profile(), .measured_now = measured_now, .path = "/cache/profile/1.json"};
}

TEST(ProfileTable, SaysEverythingThatWasMeasured) {
  EXPECT_EQ(profile_table(sample(true), 1'790'000'000), R"(machine    A "fast" CPU, 12 threads, 64.00 GiB of memory
measured   2026-09-21, kept for 30 days in /cache/profile/1.json
memory     47.96 GiB/s, reading with all threads
disk       /home: sequential 5.68 GiB/s, scattered 4.38 GiB/s (reads of 1016 KiB, 16 in flight, direct)
disk       /: sequential 477 MiB/s, scattered 381 MiB/s (reads of 64 KiB, 8 in flight, through the page cache)
Vulkan0    A GPU (Vulkan), 8.00 GiB, 7.00 GiB free, upload 11.18 GiB/s
worker     lab:50052: RPC0 (RPC), 16.00 GiB, 16.00 GiB free, link 105 MiB/s, 0.20 ms

                 decoding          prompts       to experts        repacking
processor
  q4_K        19.56 GiB/s    150.0 GFLOP/s    135.0 GFLOP/s       2.33 GiB/s
  f16         44.94 GiB/s    250.0 GFLOP/s                -                -
Vulkan0
  q4_K       186.26 GiB/s    10.00 TFLOP/s                -                -
lab:50052
  q4_K         9.31 GiB/s    100.0 GFLOP/s                -                -

doubt      two passes differ by 40 %)");
}

TEST(ProfileTable, SaysHowOldAKeptOneIs) {
  EXPECT_THAT(profile_table(sample(false), 1'790'000'000 + 60), HasSubstr("2026-09-21 (today)"));
  EXPECT_THAT(profile_table(sample(false), 1'790'000'000 + kDay_s), HasSubstr("(a day ago)"));
  EXPECT_THAT(profile_table(sample(false), 1'790'000'000 + 9 * kDay_s), HasSubstr("(9 days ago)"));
}

TEST(ProfileTable, WhatWasNotMeasuredIsADash) {
  const std::string table = profile_table({}, 0);
  EXPECT_THAT(table, HasSubstr("memory     -"));
  EXPECT_THAT(table, HasSubstr("disk       -"));
  EXPECT_THAT(table, HasSubstr("doubt      none"));
  EXPECT_THAT(table, Not(HasSubstr("decoding")));
}

}  // namespace
}  // namespace spillway
