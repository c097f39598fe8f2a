// SPDX-License-Identifier: MIT
#include "probe/quick_probe.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

#include "../os/temp_folder.h"
#include "base/bytes.h"

namespace spillway {
namespace {

// Slower and faster than anything that could be measured.
constexpr double kNever_bytes_per_s = 1, kAtOnce_bytes_per_s = 1e15;

class DiskLooksTest : public testing::Test {
 protected:
  DiskLooksTest() { model_.files.push_back(open_file(path_).value()); }

  DiskSamples looks_after(double probed_bytes_per_s) {
    return {model_,
            {.disk_bytes_per_s = probed_bytes_per_s, .read_bytes = 64 * KiB, .depth = 8, .io_queue = "threads"}};
  }

  TempFolder folder_;
  const std::string path_ = folder_.write("weights", random_bytes(24 * MiB, 1));
  GgufModel model_;
};

TEST_F(DiskLooksTest, BeforeTheFirstLookItIsWhatWasProbed) { EXPECT_EQ(looks_after(2.5e9).disk_bytes_per_s(), 2.5e9); }

TEST_F(DiskLooksTest, AProbeInABadOrLuckyMomentDoesNotCountAgainstTwoLooks) {
  for (const double probed : {kNever_bytes_per_s, kAtOnce_bytes_per_s}) {
    DiskSamples looks = looks_after(probed);
    looks.take_sample();
    looks.take_sample();
    EXPECT_GT(looks.disk_bytes_per_s(), 1e5) << probed;
    EXPECT_LT(looks.disk_bytes_per_s(), 1e13) << probed;
  }
}

TEST_F(DiskLooksTest, ALookThatFailsIsNotCounted) {
  DiskSamples looks = looks_after(kNever_bytes_per_s);
  ASSERT_EQ(::truncate(path_.c_str(), 0), 0);
  for (int i = 0; i < 3; ++i) looks.take_sample();
  EXPECT_EQ(looks.disk_bytes_per_s(), kNever_bytes_per_s);
}

}  // namespace
}  // namespace spillway
