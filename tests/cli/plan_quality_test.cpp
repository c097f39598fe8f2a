// SPDX-License-Identifier: MIT
#include "cli/plan_quality.h"

#include "cli/bench_quality.h"

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
  EXPECT_DOUBLE_EQ(*point.prediction_error(), 0);
  EXPECT_DOUBLE_EQ(*point.of_best(), 0.8);
  EXPECT_TRUE(point.logits_equal);
}

TEST(PlanQuality, AChosenWayThatIsTheFastestIsAllOfTheBest) {
  const QualityPoint point = judge_point(1, {{"auto", {run_of(6, 3)}}, {"mmap", {run_of(5, 0)}}});
  EXPECT_DOUBLE_EQ(*point.of_best(), 1);
  EXPECT_DOUBLE_EQ(*point.prediction_error(), -0.5);
}

TEST(PlanQuality, PrefillIsComparedWhereThePromptFilledAPass) {
  BenchRun prompted = run_of(6, 3);
  prompted.figures.predicted_prefill_tok_per_s = 30;
  prompted.figures.prefill_tok_per_s = 40;
  BenchRun shorter = run_of(6, 3);
  shorter.figures.prefill_tok_per_s = 40;
  const QualityPoint with = judge_point(1, {{"auto", {prompted}}}), without = judge_point(1, {{"auto", {shorter}}});
  EXPECT_DOUBLE_EQ(*with.prefill_error(), -0.25);
  EXPECT_FALSE(without.prefill_error());
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

TEST(PointTokens, MoreAreTakenWhereTheModelFits) {
  const PointTokens streamed = point_tokens(99, {4, 12}), few = point_tokens(100, {4, 12}),
                    many = point_tokens(115, {0, 90});
  EXPECT_EQ(streamed.n_warmup + streamed.n_decode, 16u);
  EXPECT_EQ(few.n_warmup, 44u);
  EXPECT_EQ(few.n_decode, 40u);
  EXPECT_EQ(many.n_warmup, 40u);
  EXPECT_EQ(many.n_decode, 90u);
}

}  // namespace
}  // namespace spillway
