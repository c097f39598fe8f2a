// SPDX-License-Identifier: MIT
#include "cli/bench/bench_report.h"

#include <gmock/gmock.h>

#include "cli/bench/bench_table.h"
#include "cli/bench/bench_tokens.h"

namespace spillway {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

BenchRun run_of(BenchKind kind, double decode_tok_per_s, const std::string& logits_hash = "0123") {
  BenchRun run;
  run.kind = kind;
  run.outcome = BenchOutcome::kOk;
  run.figures.decode_tok_per_s = decode_tok_per_s;
  if (has_comparable_logits(kind)) run.logits_hash = logits_hash;
  return run;
}

// 1 GB read per token from a disk of 4 GB/s: 0.25 s.
BenchRun streamed(double decode_tok_per_s) {
  BenchRun run = run_of(BenchKind::kOurs, decode_tok_per_s);
  run.mode = "stream";
  run.figures.bytes_read_per_token = 1e9;
  run.figures.disk_bytes_per_s = 4e9;
  run.figures.compute_s_per_token = 0.5;
  run.figures.predicted_tok_per_s = 2.5;
  return run;
}

BenchRun killed(BenchKind kind) {
  BenchRun run;
  run.kind = kind;
  run.outcome = BenchOutcome::kOomKilled;
  run.failure = "killed by the kernel";
  return run;
}

// ---- medians ----

TEST(BenchReport, AKindHasTheMedianAndTheSpreadOfItsRuns) {
  const BenchReport report = summarize_bench({streamed(2), streamed(7), streamed(3)});
  ASSERT_EQ(report.kinds.size(), 1u);
  const BenchKindSummary& ours = report.kinds[0];
  EXPECT_DOUBLE_EQ(*ours.median.decode_tok_per_s, 3);
  EXPECT_DOUBLE_EQ(*ours.decode_tok_per_s_min, 2);
  EXPECT_DOUBLE_EQ(*ours.decode_tok_per_s_max, 7);
  EXPECT_FALSE(ours.median.hit_rate);
  EXPECT_EQ(ours.mode, "stream");
}

TEST(BenchReport, RunsThatFailedCountButNotInTheMedians) {
  const BenchReport report = summarize_bench({streamed(2), killed(BenchKind::kOurs), streamed(4)});
  const BenchKindSummary& ours = report.kinds[0];
  EXPECT_EQ(ours.n_runs, 3u);
  EXPECT_EQ(ours.n_ok, 2u);
  EXPECT_EQ(ours.n_oom_killed, 1u);
  EXPECT_DOUBLE_EQ(*ours.median.decode_tok_per_s, 3);
  EXPECT_EQ(ours.failure, "killed by the kernel");
  EXPECT_FALSE(report.ours_ok);
}

TEST(BenchReport, AKilledBaselineIsNoFailureOfOurs) {
  const BenchReport report = summarize_bench({streamed(2), killed(BenchKind::kBaseline)});
  EXPECT_TRUE(report.ours_ok);
  EXPECT_TRUE(report.logits_equal);
  EXPECT_FALSE(report.times_baseline);
}

TEST(BenchReport, PeaksAreTheHighestOfAllRuns) {
  BenchRun low = streamed(2), high = streamed(2);
  low.rss_bytes_max = 100, high.rss_bytes_max = 300;
  low.cgroup_bytes_max = 400, high.cgroup_bytes_max = 200;
  const BenchReport report = summarize_bench({low, high});
  EXPECT_EQ(report.kinds[0].rss_bytes_max, 300u);
  EXPECT_EQ(report.kinds[0].cgroup_bytes_max, 400u);
}

// ---- limits ----

TEST(BenchReport, LimitsUseTheResidentRunsTimePerToken) {
  const BenchReport report = summarize_bench({streamed(1.5), run_of(BenchKind::kResident, 4)});
  const BenchLimits& limits = report.limits;
  EXPECT_TRUE(limits.compute_is_resident);
  EXPECT_DOUBLE_EQ(*limits.compute_s_per_token, 0.25);
  EXPECT_DOUBLE_EQ(*limits.serial_tok_per_s, 2);
  EXPECT_DOUBLE_EQ(*limits.overlap_tok_per_s, 4);
  EXPECT_DOUBLE_EQ(*limits.read_tok_per_s, 4);
  EXPECT_DOUBLE_EQ(*limits.serial_fraction, 0.75);
  EXPECT_DOUBLE_EQ(*limits.overlap_fraction, 0.375);
  EXPECT_DOUBLE_EQ(*limits.read_fraction, 0.375);
  EXPECT_DOUBLE_EQ(*report.achieved_of_predicted, 0.6);
}

TEST(BenchReport, WithoutAResidentRunOurOwnComputeTimeStandsIn) {
  for (const auto& runs : {std::vector<BenchRun>{streamed(1)}, {streamed(1), killed(BenchKind::kResident)}}) {
    const BenchLimits limits = summarize_bench(runs).limits;
    EXPECT_FALSE(limits.compute_is_resident);
    EXPECT_DOUBLE_EQ(*limits.compute_s_per_token, 0.5);
    EXPECT_DOUBLE_EQ(*limits.serial_tok_per_s, 1 / 0.75);
  }
}

TEST(BenchReport, ALimitIsTheBestThatAnyRunShowed) {
  BenchRun fast_disk = streamed(1), fast_compute = streamed(1);
  fast_disk.figures.disk_bytes_per_s = 8e9;
  fast_compute.figures.compute_s_per_token = 0.2;
  const BenchReport report = summarize_bench({fast_disk, fast_compute, streamed(1), run_of(BenchKind::kResident, 4)});
  EXPECT_DOUBLE_EQ(*report.limits.read_tok_per_s, 8);
  EXPECT_DOUBLE_EQ(*report.limits.compute_s_per_token, 0.2);
  EXPECT_FALSE(report.limits.compute_is_resident);
  EXPECT_FALSE(report.limit_is_passed);
}

TEST(BenchReport, ARunIsAlsoHeldToTheDiskOfItsOwnRepetition) {
  // A disk that falls to a half in the second of three repetitions, and our runs with it.
  std::vector<BenchRun> runs;
  for (const double disk : {8e9, 4e9, 8e9}) {
    BenchRun ours = streamed(disk / 2e9);
    ours.figures.disk_bytes_per_s = disk;
    ours.figures.compute_s_per_token = 0.01;
    ours.repetition = static_cast<uint32_t>(runs.size());
    runs.push_back(ours);
  }
  runs[2].figures.decode_tok_per_s = 2;
  const BenchLimits limits = summarize_bench(runs).limits;
  EXPECT_DOUBLE_EQ(*limits.overlap_fraction, 0.25);         // the median rate, 2, over the best disk's limit, 8
  EXPECT_DOUBLE_EQ(*limits.overlap_fraction_in_turn, 0.5);  // 4 of 8, 2 of 4, 2 of 8
  EXPECT_DOUBLE_EQ(*limits.read_fraction_in_turn, 0.5);
}

TEST(BenchReport, WhatPassesItsLimitByMoreThanTwoPercentIsAWrongAccount) {
  const auto of_rate = [](double tok_per_s) {
    BenchRun run = streamed(tok_per_s);
    run.figures.compute_s_per_token = 0.01;
    return summarize_bench({run});  // 4 tok/s are the limit
  };
  EXPECT_FALSE(of_rate(4.05).limit_is_passed);
  EXPECT_TRUE(of_rate(4.15).limit_is_passed);
}

TEST(BenchReport, WhatReadsNothingIsLimitedByComputingAlone) {
  BenchRun run = streamed(2);
  run.figures.bytes_read_per_token = 0;
  run.figures.disk_bytes_per_s.reset();
  const BenchLimits limits = summarize_bench({run, run_of(BenchKind::kResident, 4)}).limits;
  EXPECT_DOUBLE_EQ(*limits.serial_tok_per_s, 4);
  EXPECT_DOUBLE_EQ(*limits.overlap_tok_per_s, 4);
  EXPECT_FALSE(limits.read_tok_per_s);
}

TEST(BenchReport, WithoutKnowingWhatWasReadOrHowFastThereIsNoLimit) {
  BenchRun unknown_bytes = streamed(2), unknown_disk = streamed(2);
  unknown_bytes.figures.bytes_read_per_token.reset();
  unknown_disk.figures.disk_bytes_per_s.reset();
  for (const BenchRun& run : {unknown_bytes, unknown_disk}) {
    const BenchLimits limits = summarize_bench({run, run_of(BenchKind::kResident, 4)}).limits;
    EXPECT_FALSE(limits.serial_tok_per_s);
    EXPECT_FALSE(limits.overlap_tok_per_s);
    EXPECT_FALSE(limits.read_tok_per_s);
  }
}

TEST(BenchReport, RatiosCompareMedians) {
  const BenchReport report =
      summarize_bench({streamed(2), run_of(BenchKind::kBaseline, 0.2), run_of(BenchKind::kLlamaBench, 0.4), streamed(4),
                       run_of(BenchKind::kBaseline, 0.4), run_of(BenchKind::kLlamaBench, 0.8)});
  EXPECT_DOUBLE_EQ(*report.times_baseline, 10);
  EXPECT_DOUBLE_EQ(*report.times_llama_bench, 5);
}

TEST(BenchReport, TheResidentCheckComparesDecodeAndPrefillFromDifferentRuns) {
  BenchRun prefill = run_of(BenchKind::kResidentFree, 0), llama_prefill = run_of(BenchKind::kLlamaBenchFree, 0);
  for (BenchRun* run : {&prefill, &llama_prefill}) run->figures.decode_tok_per_s.reset();
  prefill.figures.prefill_tok_per_s = 99;
  llama_prefill.figures.prefill_tok_per_s = 100;
  const BenchReport report = summarize_bench(
      {run_of(BenchKind::kResidentFree, 8), run_of(BenchKind::kLlamaBenchFree, 10), prefill, llama_prefill});
  EXPECT_DOUBLE_EQ(*report.free_decode_ratio, 0.8);
  EXPECT_DOUBLE_EQ(*report.free_prefill_ratio, 0.99);
}

// ---- exactness ----

TEST(BenchReport, OneDifferentHashAmongManyIsSeen) {
  std::vector<BenchRun> runs = {streamed(2), run_of(BenchKind::kBaseline, 1), run_of(BenchKind::kResident, 3)};
  EXPECT_TRUE(summarize_bench(runs).logits_equal);
  EXPECT_EQ(summarize_bench(runs).n_hashes_compared, 3u);
  runs.push_back(run_of(BenchKind::kResident, 3, "4567"));
  const BenchReport report = summarize_bench(runs);
  EXPECT_FALSE(report.logits_equal);
  EXPECT_THAT(bench_report_table({}, report), HasSubstr("LOGITS DIFFER"));
  EXPECT_EQ(logits_by_run(runs), "ours 0: 0123, baseline 0: 0123, resident 0: 0123, resident 0: 4567");
}

TEST(BenchReport, RepackedAndForeignLogitsAreNotCompared) {
  BenchRun repacked = run_of(BenchKind::kResidentFree, 3);
  repacked.logits_hash = "4567";
  EXPECT_TRUE(summarize_bench({streamed(2), repacked, run_of(BenchKind::kLlamaBench, 1)}).logits_equal);
}

// ---- what children print ----

TEST(BenchRunReport, FiguresOfARunAreTakenOver) {
  BenchRun run;
  const auto read = read_run_report(
      R"({"mode":"stream","decode_tokens":12,"decode_tok_per_s":2.5,"hit_rate":null,"bytes_read_per_token":7.5,
          "logits_hash":"00ff","peak_rss_bytes":900,"budget_bytes":1000})",
      {.n_prompt = 4, .n_decode = 12}, run);
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_EQ(run.mode, "stream");
  EXPECT_EQ(run.figures.decode_tok_per_s, 2.5);
  EXPECT_EQ(run.figures.bytes_read_per_token, 7.5);
  EXPECT_FALSE(run.figures.hit_rate);
  EXPECT_EQ(run.logits_hash, "00ff");
  EXPECT_EQ(run.rss_bytes_max, 900u);
  EXPECT_EQ(run.budget_bytes, 1000u);
}

TEST(BenchRunReport, WhatTheKernelReadForAMappingIsUnknownNotZero) {
  BenchRun run;
  ASSERT_TRUE(read_run_report(R"({"mode":"mmap","decode_tokens":2,"bytes_read_per_token":0})", {.n_decode = 2}, run));
  EXPECT_FALSE(run.figures.bytes_read_per_token);
}

TEST(BenchRunReport, AOneTokenPromptThatOnlyBeginsAnAnswerIsNoPrefillFigure) {
  const char* report = R"({"mode":"resident","decode_tokens":2,"prefill_tok_per_s":9})";
  BenchRun counted, uncounted;
  ASSERT_TRUE(read_run_report(report, {.n_prompt = 4, .n_decode = 2}, counted));
  ASSERT_TRUE(read_run_report(report, {.n_prompt = 1, .n_decode = 2, .prompt_counts = false}, uncounted));
  EXPECT_EQ(counted.figures.prefill_tok_per_s, 9);
  EXPECT_FALSE(uncounted.figures.prefill_tok_per_s);
}

TEST(BenchRunReport, ARunThatStoppedEarlyIsNoRun) {
  BenchRun run;
  const auto read = read_run_report(R"({"mode":"stream","decode_tokens":3})", {.n_decode = 12}, run);
  ASSERT_FALSE(read);
  EXPECT_THAT(read.error().message(), HasSubstr("3 of 12"));
}

TEST(BenchRunReport, WhatIsNoReportIsRefused) {
  BenchRun run;
  for (const char* output : {"", "Segmentation fault", "[]", "[1]", "{", "[{\"avg_ts\":0}]", "[{}]"}) {
    EXPECT_FALSE(read_run_report(output, {.n_decode = 1}, run)) << output;
    EXPECT_FALSE(read_llama_bench_report(output, {.n_decode = 1}, run)) << output;
  }
}

TEST(BenchRunReport, LlamaBenchTellsDecodeOrPrefill) {
  BenchRun decode, prefill;
  ASSERT_TRUE(read_llama_bench_report(R"([{"avg_ts":12.5}])", {.n_decode = 8}, decode));
  ASSERT_TRUE(read_llama_bench_report(R"([{"avg_ts":80}])", {.n_prompt = 512}, prefill));
  EXPECT_EQ(decode.figures.decode_tok_per_s, 12.5);
  EXPECT_FALSE(decode.figures.prefill_tok_per_s);
  EXPECT_EQ(prefill.figures.prefill_tok_per_s, 80);
  EXPECT_FALSE(prefill.figures.decode_tok_per_s);
}

// ---- the table ----

TEST(BenchTable, SaysWhoWasKilled) {
  const std::string table = bench_report_table({}, summarize_bench({streamed(2), killed(BenchKind::kBaseline)}));
  EXPECT_THAT(table, HasSubstr("spillway, stream"));
  EXPECT_THAT(table, HasSubstr("OOM-killed (1 of 1)"));
  EXPECT_THAT(table, HasSubstr("none: one of the two has no figures"));
}

TEST(BenchTable, TheBandwidthBoundIsForDenseModelsOnly) {
  const BenchReport report = summarize_bench({streamed(2)});
  BenchHeading dense, moe;
  moe.n_expert = 8;
  EXPECT_THAT(bench_report_table(dense, report), HasSubstr("bandwidth / (weights - resident)"));
  EXPECT_THAT(bench_report_table(moe, report), Not(HasSubstr("bandwidth / (weights - resident)")));
}

// ---- token ids ----

TEST(BenchTokens, TheSameSeedGivesTheSameIds) {
  EXPECT_EQ(bench_token_ids(50, 32000, 7), bench_token_ids(50, 32000, 7));
  EXPECT_NE(bench_token_ids(50, 32000, 7), bench_token_ids(50, 32000, 8));
  const auto longer = bench_token_ids(100, 32000, 7);
  EXPECT_EQ(bench_token_ids(50, 32000, 7), std::vector<TokenId>(longer.begin(), longer.begin() + 50));
}

TEST(BenchTokens, NeighboursShareAClusterAsOftenAsInText) {
  const auto ids = bench_token_ids(20000, 32000, 1);
  size_t n_stayed = 0;
  for (size_t i = 1; i < ids.size(); ++i) n_stayed += ids[i] % 64 == ids[i - 1] % 64;
  EXPECT_NEAR(static_cast<double>(n_stayed) / 20000, 0.35 + 0.65 / 64, 0.02);
}

TEST(BenchTokens, AllIdsAreInTheVocabulary) {
  for (const uint32_t n_vocab : {1u, 2u, 63u, 64u, 65u, 100u, 1000u})
    for (const TokenId id : bench_token_ids(2000, n_vocab, 3)) {
      ASSERT_GE(id, 0);
      ASSERT_LT(static_cast<uint32_t>(id), n_vocab);
    }
}

TEST(BenchTokens, AListIsWhatRunTakes) { EXPECT_EQ(token_list({1, 15043, 2}), "1,15043,2"); }

}  // namespace
}  // namespace spillway
