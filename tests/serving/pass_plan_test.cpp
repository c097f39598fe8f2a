// SPDX-License-Identifier: MIT
#include "serving/pass_plan.h"

#include <gmock/gmock.h>

namespace spillway {
namespace {

using testing::ElementsAre;

class PassPlanTest : public testing::Test {
 protected:
  // A sequence that holds `n_computed` of `n_tokens`.
  ServedSequence& add(size_t n_tokens, size_t n_computed) {
    auto sequence = std::make_unique<ServedSequence>();
    sequence->seq = static_cast<int32_t>(sequences_.size());
    sequence->tokens.assign(n_tokens, 1);
    sequence->n_computed = n_computed;
    sequence->job = std::make_unique<ServingJob>();
    sequences_.push_back(std::move(sequence));
    return *sequences_.back();
  }
  // "sequence:tokens", "!" behind those whose logits are wanted; of several, how many.
  std::vector<std::string> plan(const PassRoom& room) {
    std::vector<std::string> parts;
    for (const PassPart& part : plan_pass(sequences_, room, turn_))
      parts.push_back(std::to_string(part.sequence->seq) + ":" + std::to_string(part.n_tokens) +
                      (part.n_outputs > 0 ? "!" : "") + (part.n_outputs > 1 ? std::to_string(part.n_outputs) : ""));
    return parts;
  }

  ServedSequences sequences_;
  PassTurn turn_;
};

TEST_F(PassPlanTest, AnswersAndPromptsAlternate) {
  add(10, 9);
  add(100, 0);
  add(20, 19);
  EXPECT_THAT(plan({.tokens_max = 512}), ElementsAre("0:1!", "2:1!"));
  EXPECT_THAT(plan({.tokens_max = 512}), ElementsAre("1:100!"));
  EXPECT_THAT(plan({.tokens_max = 512}), ElementsAre("0:1!", "2:1!"));
}

TEST_F(PassPlanTest, AScoredPromptBringsNoMoreTokensThanThereAreOutputs) {
  ServedSequence& scored = add(100, 0);
  scored.n_prompt = 100;
  scored.job->request.scores_from = scored.n_scored = 10;
  EXPECT_THAT(plan({.tokens_max = 64, .outputs_max = 8}), ElementsAre("0:17!8")) << "nine of them need no score";
  scored.n_computed = 17;
  scored.n_scored = 18;
  EXPECT_THAT(plan({.tokens_max = 64, .outputs_max = 8}), ElementsAre("0:8!8"));
  EXPECT_THAT(plan({.tokens_max = 256, .outputs_max = 128}), ElementsAre("0:83!83"));
}

TEST_F(PassPlanTest, AScoredPromptIsCutInProperPartsWhereThereAreOutputsForOne) {
  ServedSequence& scored = add(300, 0);
  scored.n_prompt = 300;
  scored.job->request.scores_from = scored.n_scored = 0;
  EXPECT_THAT(plan({.tokens_max = 256, .outputs_max = 80}), ElementsAre("0:64!64"));
  scored.job->request.scores_from = scored.n_scored = 200;
  EXPECT_THAT(plan({.tokens_max = 256, .outputs_max = 80}), ElementsAre("0:192"));
}

TEST_F(PassPlanTest, PromptsTakeTurns) {
  add(1000, 0);
  add(1000, 0);
  add(5, 0);
  EXPECT_THAT(plan({.tokens_max = 512}), ElementsAre("0:512"));
  EXPECT_THAT(plan({.tokens_max = 512}), ElementsAre("1:512"));
  EXPECT_THAT(plan({.tokens_max = 512}), ElementsAre("2:5!"));
  sequences_[0]->n_computed = 512;
  EXPECT_THAT(plan({.tokens_max = 512}), ElementsAre("0:488!"));
}

TEST_F(PassPlanTest, FreeSequencesAndThoseWithNothingToComputeBringNothing) {
  add(10, 10);
  add(10, 5).job.reset();
  EXPECT_THAT(plan({.tokens_max = 20}), ElementsAre());
}

TEST_F(PassPlanTest, WhoWasLeftOutBeginsTheNextPass) {
  for (int i = 0; i < 5; ++i) add(10, 9);
  EXPECT_THAT(plan({.tokens_max = 2}), ElementsAre("0:1!", "1:1!"));
  EXPECT_THAT(plan({.tokens_max = 2}), ElementsAre("2:1!", "3:1!"));
  EXPECT_THAT(plan({.tokens_max = 2}), ElementsAre("4:1!", "0:1!"));
}

TEST_F(PassPlanTest, PromptsAreShortWhileOthersWait) {
  add(1000, 0);
  EXPECT_THAT(plan({.tokens_max = 512, .prompt_tokens_max = 64}), ElementsAre("0:512"));
  add(10, 9);
  EXPECT_THAT(plan({.tokens_max = 512, .prompt_tokens_max = 64}), ElementsAre("1:1!"));
  EXPECT_THAT(plan({.tokens_max = 512, .prompt_tokens_max = 64}), ElementsAre("0:64"));
}

TEST_F(PassPlanTest, ASuspectComputesAlone) {
  add(10, 9);
  add(10, 9).suspect = true;
  add(50, 0);
  EXPECT_THAT(plan({.tokens_max = 64}), ElementsAre("1:1!"));
}

TEST_F(PassPlanTest, APartEndsWhereACheckpointIsDue) {
  add(1000, 512).stop_at = 896;
  EXPECT_THAT(plan({.tokens_max = 512}), ElementsAre("0:384"));
  sequences_[0]->n_computed = 896;
  EXPECT_THAT(plan({.tokens_max = 512}), ElementsAre("0:104!"));
}

TEST_F(PassPlanTest, APassHasRoomForOneTokenAtLeast) {
  add(10, 0);
  EXPECT_THAT(plan({.tokens_max = 0}), ElementsAre("0:1"));
}

}  // namespace
}  // namespace spillway
