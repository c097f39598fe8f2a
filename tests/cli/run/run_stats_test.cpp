// SPDX-License-Identifier: MIT
#include "cli/run/run_stats.h"

#include <gtest/gtest.h>

namespace spillway {
namespace {

// 10 tokens in 5 s, 2 s of them waiting for 8 GB from a disk of 4 GB/s.
RunMeasurement streamed_run() {
  RunMeasurement run;
  run.prompt_tokens = 100;
  run.prefill_s = 4;
  run.first_token_s = 4.5;
  run.decode_tokens = 10;
  run.decode_s = 5;
  run.at_begin = {.bytes_read = 1'000'000'000, .streaming_cpu_s = 0.5, .ungated = 1};
  run.at_decode = {.bytes_read = 3'000'000'000, .hits = 100, .misses = 100, .disk_wait_s = 1, .major_faults = 50};
  run.at_end = {.bytes_read = 11'000'000'000,
                .hits = 160,
                .misses = 140,
                .disk_wait_s = 3,
                .streaming_cpu_s = 0.8,
                .ungated = 3,
                .major_faults = 55};
  return run;
}

TEST(RunStats, DecodeFiguresCountOnlyFromTheDecodeSnapshot) {
  const RunStats stats = compute_run_stats(streamed_run(), {.disk_bytes_per_s_at_load = 4e9});
  EXPECT_DOUBLE_EQ(*stats.prefill_tok_per_s, 25);
  EXPECT_DOUBLE_EQ(*stats.decode_tok_per_s, 2);
  EXPECT_DOUBLE_EQ(*stats.time_to_first_token_s, 4.5);
  EXPECT_DOUBLE_EQ(*stats.bytes_read_per_token, 8e8);
  EXPECT_DOUBLE_EQ(*stats.hit_rate, 0.6);
  EXPECT_DOUBLE_EQ(*stats.disk_wait_fraction, 0.4);
  EXPECT_DOUBLE_EQ(*stats.major_faults_per_token, 0.5);
}

TEST(RunStats, LimitsFollowFromComputeAndBandwidth) {
  const RunStats stats = compute_run_stats(streamed_run(), {.disk_bytes_per_s_at_load = 4e9});
  EXPECT_DOUBLE_EQ(*stats.compute_s, 0.3);
  EXPECT_DOUBLE_EQ(*stats.serial_limit_tok_per_s, 1 / (0.3 + 0.2));
  EXPECT_DOUBLE_EQ(*stats.overlap_limit_tok_per_s, 1 / 0.3);
  EXPECT_DOUBLE_EQ(*stats.roofline_fraction, 0.6);
}

TEST(RunStats, WhatTheDiskWasBusyIsNoneOfTheTimeBeforeDecoding) {
  RunMeasurement run = streamed_run();
  run.at_decode.reader_busy_s = 1;
  run.at_end.reader_busy_s = 5;
  const RunStats stats = compute_run_stats(run, {.disk_bytes_per_s_at_load = 4e9});
  EXPECT_DOUBLE_EQ(*stats.disk_busy_fraction, 0.8);
  EXPECT_DOUBLE_EQ(*stats.busy_disk_bytes_per_s, 2e9);
  EXPECT_FALSE(compute_run_stats(streamed_run(), {}).busy_disk_bytes_per_s) << "it was never busy";
}

TEST(RunStats, CpuAndUngatedCountPromptAndAnswer) {
  const RunStats stats = compute_run_stats(streamed_run(), {});
  EXPECT_DOUBLE_EQ(*stats.cpu_s_per_gb_streamed, 0.03);
  EXPECT_EQ(stats.ungated, 2u);
}

TEST(RunStats, TheDiskIsTheBestThatItWasSeenToBe) {
  RunMeasurement run = streamed_run();
  EXPECT_FALSE(compute_run_stats(run, {}).disk_bytes_per_s);
  EXPECT_DOUBLE_EQ(*compute_run_stats(run, {.disk_bytes_per_s_at_end = 3e9}).disk_bytes_per_s, 3e9);
  const RunSurroundings looks = {.disk_bytes_per_s_at_load = 2e9, .disk_bytes_per_s_at_end = 3e9};
  EXPECT_DOUBLE_EQ(*compute_run_stats(run, looks).disk_bytes_per_s, 3e9);
  run.at_decode.reader_busy_s = 1;
  run.at_end.reader_busy_s = 3;  // 8 GB in two seconds
  EXPECT_DOUBLE_EQ(*compute_run_stats(run, looks).disk_bytes_per_s, 4e9);
}

TEST(RunStats, WithoutADiskMeasurementAStreamedRunHasNoLimits) {
  const RunStats stats = compute_run_stats(streamed_run(), {});
  EXPECT_FALSE(stats.serial_limit_tok_per_s);
  EXPECT_FALSE(stats.overlap_limit_tok_per_s);
  EXPECT_FALSE(stats.roofline_fraction);
  EXPECT_TRUE(stats.decode_tok_per_s);
}

TEST(RunStats, AResidentRunIsLimitedByComputeAlone) {
  RunMeasurement run;
  run.decode_tokens = 10;
  run.decode_s = 2;
  const RunStats stats = compute_run_stats(run, {});
  EXPECT_DOUBLE_EQ(*stats.bytes_read_per_token, 0);
  EXPECT_FALSE(stats.hit_rate);
  EXPECT_FALSE(stats.cpu_s_per_gb_streamed);
  EXPECT_DOUBLE_EQ(*stats.serial_limit_tok_per_s, 5);
  EXPECT_DOUBLE_EQ(*stats.roofline_fraction, 1);
}

TEST(RunStats, ARunWithoutDecodingHasNoDecodeFigures) {
  RunMeasurement run = streamed_run();
  run.decode_tokens = 0;
  run.decode_s = 0;
  const RunStats stats = compute_run_stats(run, {.disk_bytes_per_s_at_load = 4e9, .predicted_tok_per_s = 3});
  EXPECT_FALSE(stats.decode_tok_per_s);
  EXPECT_FALSE(stats.bytes_read_per_token);
  EXPECT_FALSE(stats.roofline_fraction);
  EXPECT_DOUBLE_EQ(*stats.predicted_tok_per_s, 3);
  EXPECT_DOUBLE_EQ(*stats.prefill_tok_per_s, 25);
}

// The wait counter and the stop-watch are read at slightly different moments.
TEST(RunStats, WaitingNeverExceedsTheDecodeTime) {
  RunMeasurement run = streamed_run();
  run.at_end.disk_wait_s = run.at_decode.disk_wait_s + run.decode_s + 0.001;
  const RunStats stats = compute_run_stats(run, {.disk_bytes_per_s_at_load = 4e9});
  EXPECT_DOUBLE_EQ(*stats.disk_wait_fraction, 1);
  EXPECT_DOUBLE_EQ(*stats.compute_s, 0);
}

}  // namespace
}  // namespace spillway
