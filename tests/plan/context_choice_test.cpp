// SPDX-License-Identifier: MIT
#include "plan/context_choice.h"

#include <gmock/gmock.h>

#include "plan_models.h"

namespace spillway {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

// 4.2 GiB of weights; 128 KiB of keys and values for each token; trained for 131,072.
const GgufModel& model_8b() {
  static const GgufModel model = make_shape(kDense8b);
  return model;
}

Result<ContextChoice> choice_within(uint64_t ram_bytes, const GgufModel& model = model_8b(), uint32_t n_seq = 1,
                                    uint64_t n_ctx = 0, uint64_t n_ctx_min = 0) {
  static const MachineProfile machine = plain_machine();
  const PlanRequest request{
      .model = &model, .machine = &machine, .ram_bytes = ram_bytes, .n_seq = n_seq, .shared_context = false};
  return plan_with_context(request, n_ctx, n_ctx_min);
}

TEST(ContextChoice, IsWhatTheModelWasTrainedForWhereThereIsRoom) {
  const auto choice = choice_within(64 * GiB);
  ASSERT_TRUE(choice) << choice.error().message();
  EXPECT_EQ(choice->n_ctx, 131072u);
  EXPECT_EQ(choice->n_ctx_default, 131072u);
  EXPECT_EQ(choice->plan.n_ctx, 131072u);
  EXPECT_THAT(choice->why, HasSubstr("trained for"));
  GgufModel small = make_shape(kDense8b);
  small.n_ctx_train = 512;
  EXPECT_EQ(choice_within(64 * GiB, small)->n_ctx, 512u);
  small.n_ctx_train = 40000;
  EXPECT_EQ(choice_within(64 * GiB, small)->n_ctx, 40000u);
}

// Where weights stay in memory, a larger context costs no speed: then what is left for others decides.
TEST(ContextChoice, LeavesHalfOfTheMemoryBesideTheWeightsToOthers) {
  const auto choice = choice_within(28 * GiB);
  ASSERT_TRUE(choice);
  EXPECT_EQ(choice->n_ctx, 65536u);
  EXPECT_EQ(choice->plan.mode, Mode::kResident);
  EXPECT_THAT(choice->why, HasSubstr("131072"));
}

// In the least memory in which it is chosen; in more of it, it is no slower.
TEST(ContextChoice, CostsNoMoreThanATenthOfTheSpeedUnlessAgentsNeedIt) {
  uint64_t before = 0;
  double before_s = 0;
  for (uint64_t eighths = 16; eighths < 320; eighths += eighths < 64 ? 3 : 32) {
    const uint64_t bytes = eighths * GiB / 8;
    const auto floor = choice_within(bytes, model_8b(), 1, kContextFloor);
    const auto choice = choice_within(bytes);
    ASSERT_EQ(floor.has_value(), choice.has_value()) << eighths;
    if (!choice) continue;
    EXPECT_GE(choice->n_ctx, kContextFloor) << eighths;
    const double seconds = choice->plan.prediction.request_s;
    if (choice->n_ctx > before)
      EXPECT_LE(seconds / floor->plan.prediction.request_s, choice->n_ctx <= kContextWanted ? 2.0 : 1 / 0.9) << eighths;
    else
      EXPECT_LE(seconds, before_s * 1.001) << eighths;
    before = choice->n_ctx;
    before_s = seconds;
  }
}

TEST(ContextChoice, IsEnoughForAgentsWhereThatHasRoom) {
  for (const uint64_t gib : {7, 8, 12})
    EXPECT_GE(choice_within(gib * GiB)->n_ctx, kContextWanted) << gib << " GiB hold 4.2 of weights and 2 of context";
}

// Nor where weights stream, where more memory makes the smallest context faster, against which others are weighed.
TEST(ContextChoice, MoreMemoryNeverMakesItSmaller) {
  const GgufModel mixture = make_shape(kMoe30b);
  for (const GgufModel* model : {&model_8b(), &mixture})
    for (const uint32_t n_seq : {1u, 4u}) {
      if (n_seq > 1 && model == &mixture) continue;  // plans of many tensors take their time
      uint64_t before = 0;
      bool streamed = false, stayed = false;
      for (uint64_t quarters = 8; quarters < 200; quarters += quarters < 40 ? 3 : 20) {
        const auto choice = choice_within(quarters * GiB / 4, *model, n_seq);
        if (!choice) continue;
        (choice->plan.mode == Mode::kResident ? stayed : streamed) = true;
        EXPECT_GE(choice->n_ctx, before) << quarters << " quarters of a GiB for " << n_seq;
        before = choice->n_ctx;
      }
      EXPECT_TRUE(streamed && stayed);
      EXPECT_GT(before, kContextFloor);
    }
}

TEST(ContextChoice, EachOfSeveralSequencesHasIt) {
  const auto one = choice_within(28 * GiB), four = choice_within(28 * GiB, model_8b(), 4);
  ASSERT_TRUE(one && four);
  EXPECT_LT(four->n_ctx, one->n_ctx);
  EXPECT_EQ(four->plan.n_ctx, 4 * four->n_ctx);
}

TEST(ContextChoice, ANumberThatIsNamedIsTakenOrRefused) {
  const auto named = choice_within(28 * GiB, model_8b(), 1, 7000);
  ASSERT_TRUE(named);
  EXPECT_EQ(named->n_ctx, 7000u);
  EXPECT_EQ(named->n_ctx_default, 0u);
  EXPECT_THAT(named->why, IsEmpty());
  EXPECT_EQ(choice_within(8 * GiB, model_8b(), 1, 1'000'000).error().code(), Code::kOutOfBudget);
  for (const uint64_t absurd : {uint64_t{1} << 32, uint64_t{5'000'000'000}, uint64_t{1} << 40, UINT64_MAX})
    for (const uint32_t n_seq : {1u, 256u})
      EXPECT_EQ(choice_within(8 * GiB, model_8b(), n_seq, absurd).error().code(), Code::kInvalidArgument) << absurd;
}

// A request that brings a size of its own, for a model that is not loaded yet.
TEST(ContextChoice, AtLeastWhatARequestAsksForAndTheDefaultIsKnown) {
  const auto more = choice_within(28 * GiB, model_8b(), 1, 0, 100'000);
  ASSERT_TRUE(more);
  EXPECT_EQ(more->n_ctx, 100'000u);
  EXPECT_EQ(more->n_ctx_default, 65536u);
  const auto less = choice_within(28 * GiB, model_8b(), 1, 0, 100);
  ASSERT_TRUE(less);
  EXPECT_EQ(less->n_ctx, 65536u);
}

TEST(ContextChoice, AFileThatDoesNotSayGetsTheLeast) {
  GgufModel silent = make_shape(kDense8b);
  silent.n_ctx_train = 0;
  const auto choice = choice_within(28 * GiB, silent);
  ASSERT_TRUE(choice);
  EXPECT_EQ(choice->n_ctx, kContextFloor);
  EXPECT_THAT(choice->why, HasSubstr("does not say"));
}

}  // namespace
}  // namespace spillway
