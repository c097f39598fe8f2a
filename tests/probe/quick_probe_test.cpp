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

class DiskSamplesTest : public testing::Test {
 protected:
  DiskSamplesTest() { model_.files.push_back(open_file(path_).value()); }

  DiskSamples samples_after(double probed_bytes_per_s) {
    return {model_,
            {.disk_bytes_per_s = probed_bytes_per_s, .read_bytes = 64 * KiB, .depth = 8, .io_queue = "threads"},
            2 * MiB};
  }

  TempFolder folder_;
  const std::string path_ = folder_.write("weights", random_bytes(24 * MiB, 1));
  GgufModel model_;
};

TEST_F(DiskSamplesTest, BeforeTheFirstSampleItIsWhatWasProbed) {
  EXPECT_EQ(samples_after(2.5e9).disk_bytes_per_s(), 2.5e9);
}

TEST_F(DiskSamplesTest, AProbeInABadOrLuckyMomentDoesNotCountAgainstTwoSamples) {
  for (const double probed : {kNever_bytes_per_s, kAtOnce_bytes_per_s}) {
    DiskSamples samples = samples_after(probed);
    samples.take_sample();
    samples.take_sample();
    EXPECT_GT(samples.disk_bytes_per_s(), 1e5) << probed;
    EXPECT_LT(samples.disk_bytes_per_s(), 1e13) << probed;
  }
}

TEST_F(DiskSamplesTest, ASampleThatFailsIsNotCounted) {
  DiskSamples samples = samples_after(kNever_bytes_per_s);
  ASSERT_EQ(::truncate(path_.c_str(), 0), 0);
  for (int i = 0; i < 3; ++i) samples.take_sample();
  EXPECT_EQ(samples.disk_bytes_per_s(), kNever_bytes_per_s);
}

}  // namespace
}  // namespace spillway
