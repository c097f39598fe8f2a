// SPDX-License-Identifier: MIT
#include "cli/plan/plan_quality.h"

#include "cli/bench/bench_quality.h"

#include <gmock/gmock.h>

namespace spillway {
namespace {

using testing::ElementsAre;

BenchRun run_of(double tok_per_s, double predicted, const char* hash = "a") {
  BenchRun run;
  run.outcome = BenchOutcome::kOk;
  run.mode = "stream";
  run.logits_hash = hash;
  run.figures.decode_tok_per_s = tok_per_s;
  run.figures.predicted_tok_per_s = predicted;
  return run;
}

BenchRun failed(const char* why) {
  BenchRun run;
  run.failure = why;
  return run;
}

TEST(PlanQuality, MediansAreComparedWithThePredictionAndTheFastestWay) {
  const QualityPoint point = judge_point(
      2ull << 30,
      {{"auto", {run_of(3, 4), run_of(5, 4), run_of(4, 4)}}, {"stream", {run_of(4.2, 4)}}, {"mmap", {run_of(5, 0)}}});
  EXPECT_EQ(point.chosen, "stream");
  EXPECT_DOUBLE_EQ(*point.measured, 4);
  EXPECT_DOUBLE_EQ(*point.prediction_error, 0);
  EXPECT_DOUBLE_EQ(*point.of_best(), 0.8);
  EXPECT_TRUE(point.logits_equal);
}

TEST(PlanQuality, AChosenWayThatIsTheFastestIsAllOfTheBest) {
  const QualityPoint point = judge_point(1, {{"auto", {run_of(6, 3)}}, {"mmap", {run_of(5, 0)}}});
  EXPECT_DOUBLE_EQ(*point.of_best(), 1);
  EXPECT_DOUBLE_EQ(*point.prediction_error, -0.5);
}

TEST(PlanQuality, PrefillIsComparedWhereThePromptFilledAPass) {
  BenchRun prompted = run_of(6, 3);
  prompted.figures.predicted_prefill_tok_per_s = 30;
  prompted.figures.prefill_tok_per_s = 40;
  BenchRun shorter = run_of(6, 3);
  shorter.figures.prefill_tok_per_s = 40;
  const QualityPoint with = judge_point(1, {{"auto", {prompted}}}), without = judge_point(1, {{"auto", {shorter}}});
  EXPECT_DOUBLE_EQ(*with.prefill_error, -0.25);
  EXPECT_FALSE(without.prefill_error);
  EXPECT_THAT(plan_quality_table("m.gguf", {with}), testing::HasSubstr("30.00     40.00   -25 %"));
  EXPECT_THAT(plan_quality_table("m.gguf", {without}), testing::Not(testing::HasSubstr("prefill")));
  EXPECT_THAT(plan_quality_json("m.gguf", {with}), testing::HasSubstr("\"prefill_error\":-0.25"));
}

TEST(PlanQuality, ALogitThatDiffersIsSeen) {
  EXPECT_FALSE(judge_point(1, {{"auto", {run_of(6, 3, "a")}}, {"mmap", {run_of(5, 0, "b")}}}).logits_equal);
}

TEST(PlanQuality, EachRepetitionHasTokensOfItsOwnAndSoItsOwnLogits) {
  BenchRun second = run_of(6, 3, "b"), other = run_of(5, 0, "c");
  second.repetition = other.repetition = 2;
  const std::vector<BenchRun> ours = {run_of(6, 3, "a"), second};
  EXPECT_TRUE(judge_point(1, {{"auto", ours}, {"mmap", {run_of(5, 0, "a"), second}}}).logits_equal);
  EXPECT_FALSE(judge_point(1, {{"auto", ours}, {"mmap", {run_of(5, 0, "a"), other}}}).logits_equal);
}

TEST(PlanQuality, EachWayBeginsARepetitionInTurn) {
  const std::vector<QualityRuns> ways = {{"auto", {}}, {"stream", {}}, {"resident", {}}, {"mmap", {}}};
  EXPECT_THAT(ways_in_turn(ways, true, "", 1), ElementsAre(0, 1, 2, 3)) << "what auto chooses is not known yet";
  EXPECT_THAT(ways_in_turn(ways, true, "resident", 2), ElementsAre(1, 3, 0));
  EXPECT_THAT(ways_in_turn(ways, true, "resident", 3), ElementsAre(3, 0, 1));
  EXPECT_THAT(ways_in_turn(ways, true, "resident", 4), ElementsAre(0, 1, 3));
  EXPECT_THAT(ways_in_turn(ways, false, "stream", 2), ElementsAre(3, 0));
}

QualityRuns runs_of(const char* mode, std::vector<double> tok_per_s) {
  QualityRuns way{mode, {}};
  for (const double rate : tok_per_s) {
    way.runs.push_back(run_of(rate, rate));
    way.runs.back().repetition = static_cast<uint32_t>(way.runs.size());
  }
  return way;
}

TEST(PlanQuality, WaysAreComparedWithinTheirRepetitions) {
  // The machine's speed halves and doubles; mmap is always a tenth faster.
  const QualityPoint point = judge_point(1, {runs_of("auto", {10, 5, 20}), runs_of("mmap", {11, 5.5, 22})});
  EXPECT_NEAR(*point.of_best(), 1 / 1.1, 1e-9);
  // Its last repetition was not made, and the one that was lost by chance is not the median.
  const QualityPoint drifted = judge_point(1, {runs_of("auto", {4, 10, 10, 40}), runs_of("mmap", {10, 10, 10})});
  EXPECT_DOUBLE_EQ(*drifted.rivals.front().auto_by_this, 1);
  EXPECT_DOUBLE_EQ(*drifted.of_best(), 1);
}

TEST(PlanQuality, EachRunIsHeldToWhatItPredictedItself) {
  // A disk that was half as fast in most runs: all of them predicted right.
  const QualityPoint point = judge_point(1, {{"auto", {run_of(4, 4), run_of(2, 2.2), run_of(2, 2.2), run_of(4, 8)}}});
  EXPECT_NEAR(*point.prediction_error, 0.1, 1e-9);
}

TEST(PlanQuality, AWayIsGivenUpWhenItLostTwiceByHalf) {
  const QualityRuns ours = runs_of("auto", {15, 16, 15});
  EXPECT_FALSE(has_clearly_lost(runs_of("mmap", {2}), ours)) << "once may be chance";
  EXPECT_TRUE(has_clearly_lost(runs_of("mmap", {10, 10}), ours));
  EXPECT_FALSE(has_clearly_lost(runs_of("mmap", {11, 10}), ours));
  EXPECT_FALSE(has_clearly_lost(runs_of("mmap", {}), ours));
  EXPECT_FALSE(has_clearly_lost(ours, ours));
  EXPECT_FALSE(has_clearly_lost({"mmap", {failed("killed")}}, ours));
  EXPECT_TRUE(has_clearly_lost({"mmap", {failed("killed"), failed("killed")}}, ours));
}

TEST(PlanQuality, AWayThatFailedSaysWhyAndDoesNotCount) {
  const QualityPoint point = judge_point(1, {{"auto", {run_of(6, 3)}}, {"resident", {failed("killed")}}});
  EXPECT_EQ(point.rivals.front().failure, "killed");
  EXPECT_FALSE(point.rivals.front().tok_per_s);
  EXPECT_THAT(plan_quality_json("m.gguf", {point}), testing::HasSubstr("\"failure\":\"killed\""));
}

TEST(PlanQuality, AnAutoThatFailedHasNoFigures) {
  const QualityPoint point = judge_point(1, {{"auto", {failed("no memory")}}, {"mmap", {run_of(5, 0)}}});
  EXPECT_EQ(point.chosen, "");
  EXPECT_FALSE(point.of_best());
  EXPECT_THAT(plan_quality_table("m.gguf", {point}), testing::HasSubstr("failed"));
}

TEST(PointTokens, MoreAreWarmedUpWhereTheModelFits) {
  const PointTokens streamed = point_tokens(99, {4, 12}), fitting = point_tokens(100, {4, 12});
  EXPECT_EQ(streamed.n_warmup, 4u);
  EXPECT_EQ(fitting.n_warmup, 44u);
  EXPECT_EQ(streamed.n_decode, 12u);
  EXPECT_EQ(fitting.n_decode, 12u);
}

TEST(TokensToMeasure, TakeFiveSecondsAndAreNoFewerThanAsked) {
  EXPECT_EQ(tokens_to_measure(20.1, 4, {4, 12}, 512), 101u);
  EXPECT_EQ(tokens_to_measure(0.5, 4, {4, 12}, 512), 12u);
  EXPECT_EQ(tokens_to_measure(0, 4, {4, 12}, 512), 12u) << "the first run failed";
}

TEST(TokensToMeasure, LeaveRoomInTheContext) {
  EXPECT_EQ(tokens_to_measure(100, 4, {44, 12}, 128), 79u) << "4 + 44 + 79 + 1 = 128";
  EXPECT_EQ(tokens_to_measure(1e30, 4, {4, 12}, 128), 119u);
  EXPECT_EQ(tokens_to_measure(100, 4, {4, 12}, 8), 12u) << "what was asked for is checked elsewhere";
}

}  // namespace
}  // namespace spillway
