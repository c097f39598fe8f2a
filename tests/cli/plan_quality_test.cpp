// SPDX-License-Identifier: MIT
#include "cli/plan_quality.h"

#include <gmock/gmock.h>

namespace spillway {
namespace {

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

TEST(PlanQuality, ALogitThatDiffersIsSeen) {
  EXPECT_FALSE(judge_point(1, {{"auto", {run_of(6, 3, "a")}}, {"mmap", {run_of(5, 0, "b")}}}).logits_equal);
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

}  // namespace
}  // namespace spillway
