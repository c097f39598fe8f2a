// SPDX-License-Identifier: MIT
#include "cli/run/prediction_miss.h"

#include <gmock/gmock.h>

#include "base/bytes.h"

namespace spillway {
namespace {

using testing::HasSubstr;

RunStats stats_of(double predicted, double reached) {
  RunStats stats;
  stats.decode_tokens = 20;
  stats.predicted_tok_per_s = predicted;
  stats.decode_tok_per_s = reached;
  return stats;
}

std::string miss(const RunStats& stats, Mode mode = Mode::kStream, uint64_t read_bytes = 0) {
  Placement placement;
  placement.mode = mode;
  placement.bytes_read_per_token = static_cast<double>(read_bytes);
  return prediction_miss(placement, stats).value_or("");
}

TEST(PredictionMiss, WithinTwoNothingIsSaid) {
  EXPECT_EQ(miss(stats_of(4, 2)), "");
  EXPECT_EQ(miss(stats_of(2, 4)), "");
  EXPECT_EQ(prediction_miss({}, {}), std::nullopt);
}

TEST(PredictionMiss, AFewTokensSayNothing) {
  RunStats stats = stats_of(9, 1);
  stats.decode_tokens = 7;
  EXPECT_EQ(miss(stats), "");
  stats = stats_of(9, 100);
  stats.decode_tokens = 199;  // in less than two seconds
  EXPECT_EQ(miss(stats), "");
}

TEST(PredictionMiss, BothFiguresAndACauseAreNamed) {
  RunStats stats = stats_of(9, 1.25);
  EXPECT_THAT(miss(stats), HasSubstr("predicted 9 tok/s, reached 1.25: computing took longer"));
  stats.major_faults_per_token = 50;
  EXPECT_THAT(miss(stats), HasSubstr("memory was short"));
  stats.disk_wait_fraction = 0.8;
  EXPECT_THAT(miss(stats), HasSubstr("waiting for the disk"));
  stats.bytes_read_per_token = 600.0 * MiB;
  EXPECT_THAT(miss(stats, Mode::kStream, 200 * MiB), HasSubstr("600 MiB were read per token instead of 200 MiB"));
  stats.ungated = 3;
  EXPECT_THAT(miss(stats), HasSubstr("3 operations"));
  stats.shrinks = 2;
  EXPECT_THAT(miss(stats), HasSubstr("gave way 2 times"));
}

TEST(PredictionMiss, FasterIsAMissToo) {
  RunStats stats = stats_of(1, 9);
  EXPECT_THAT(miss(stats), HasSubstr("were busy when they were measured"));
  stats.bytes_read_per_token = 1.0 * MiB;
  EXPECT_THAT(miss(stats, Mode::kStream, 90 * MiB), HasSubstr("1 MiB were read per token instead of 90 MiB"));
  EXPECT_THAT(miss(stats, Mode::kMmap), HasSubstr("page cache held more"));
}

}  // namespace
}  // namespace spillway
