// SPDX-License-Identifier: MIT
#include "serving/prefix_reuse.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "os/temp_folder.h"
#include "serving/scripted_engine.h"
#include "serving/token_ids.h"

namespace spillway {
namespace {

class PrefixReuseTest : public testing::Test {
 protected:
  // A free sequence that holds `text`.
  ServedSequence& add(const std::string& text, uint64_t used = 0) {
    auto sequence = std::make_unique<ServedSequence>();
    sequence->seq = static_cast<int32_t>(sequences_.size());
    sequence->tokens = ids(text);
    sequence->n_computed = text.size();
    sequence->used = used;
    engine_.context[sequence->seq] = text;
    sequences_.push_back(std::move(sequence));
    return *sequences_.back();
  }
  PrefixReuse reuse() { return {engine_, sequences_, cache_.get()}; }
  std::string held(const ServedSequence& sequence) { return engine_.context[sequence.seq]; }

  ScriptedEngine engine_;
  ServedSequences sequences_;
  std::unique_ptr<PromptCache> cache_;
};

// Tokens as a prompt leaves them.
ServedSequence& as_prompt(ServedSequence& sequence) {
  sequence.n_as_prompt = sequence.n_computed;
  return sequence;
}

TEST_F(PrefixReuseTest, ASequenceThatContinuesIsChosenBeforeTheLeastRecentlyUsed) {
  add("something else", 1);
  ServedSequence& mine = add(std::string(100, 'm'), 2);
  EXPECT_EQ(reuse().choose_sequence(ids(std::string(100, 'm') + " goes on")), &mine);
}

TEST_F(PrefixReuseTest, ALongConversationIsNotGivenUpForAShortBeginning) {
  add("system prompt" + std::string(400, 'c'), 2);
  ServedSequence& empty = add("", 1);
  EXPECT_EQ(reuse().choose_sequence(ids("system prompt" + std::string(100, 'c') + "other")), &empty);
}

TEST_F(PrefixReuseTest, ABusySequenceIsNotChosen) {
  add("all are busy").job = std::make_unique<ServingJob>();
  EXPECT_EQ(reuse().choose_sequence(ids("x")), nullptr);
}

TEST_F(PrefixReuseTest, WhatFollowsACommonBeginningIsForgotten) {
  const std::string beginning(300, 'b');
  ServedSequence& sequence = add(beginning + ", another end");
  reuse().restore(sequence, ids(beginning + " and on"));
  EXPECT_EQ(sequence.n_computed, 300u);
  EXPECT_EQ(held(sequence), beginning);
}

TEST_F(PrefixReuseTest, OfAPromptWholePartsAreReused) {
  const std::string beginning(300, 'b');
  ServedSequence& sequence = as_prompt(add(beginning + ", another end"));
  reuse().restore(sequence, ids(beginning + " and on" + std::string(64, 'o')));
  EXPECT_EQ(sequence.n_computed, 256u);
  EXPECT_EQ(sequence.n_as_prompt, 256u);
  EXPECT_EQ(held(sequence), beginning.substr(0, 256));
}

// An answer that is long enough is not computed again; behind it nothing has the bits of a prompt.
TEST_F(PrefixReuseTest, BehindAPromptALongAnswerIsReusedAsItIs) {
  const std::string prompt(200, 'p'), answer(200, 'a');
  ServedSequence& sequence = add(prompt + answer);
  sequence.n_as_prompt = 192;
  reuse().restore(sequence, ids(prompt + answer + " next"));
  EXPECT_EQ(sequence.n_computed, 400u);
  EXPECT_EQ(sequence.n_as_prompt, 192u);
}

TEST_F(PrefixReuseTest, AFewTokensAreNotWorthIt) {
  ServedSequence& sequence = add(std::string(63, 'b'));
  reuse().restore(sequence, ids(std::string(63, 'b') + " and on"));
  EXPECT_EQ(sequence.n_computed, 0u);
}

TEST_F(PrefixReuseTest, ALongBeginningIsCopiedFromAnotherSequenceThroughTheCache) {
  cache_ = PromptCache::open({.model_key = "m", .memory_bytes_max = 10000, .folder = {}});
  const std::string beginning(300, 'b');
  add(beginning + " one").job = std::make_unique<ServingJob>();
  ServedSequence& sequence = add("short");
  reuse().restore(sequence, ids(beginning + " two"));
  EXPECT_EQ(held(sequence), beginning + " ");
  EXPECT_EQ(held(*sequences_[0]), beginning + " one");
}

TEST_F(PrefixReuseTest, WhereMemoryHasNoRoomForItTheCopyGoesThroughTheDisk) {
  const TempFolder folder;
  cache_ =
      PromptCache::open({.model_key = "m", .memory_bytes_max = 100, .folder = folder.path(), .disk_bytes_max = 10000});
  const std::string beginning(300, 'b');
  add(beginning + " one").job = std::make_unique<ServingJob>();
  ServedSequence& sequence = add("short");
  reuse().restore(sequence, ids(beginning + " two"));
  EXPECT_EQ(held(sequence), beginning + " ");
}

TEST_F(PrefixReuseTest, ARecurrentStateServesAsAWholeOrNotAtAll) {
  engine_.become(ScriptedEngine::Kind::kHybrid);
  const std::string state(100, 's');
  ServedSequence& sequence = add(state + "that");
  reuse().restore(sequence, ids(state + "this"));
  EXPECT_EQ(sequence.n_computed, 0u);
  EXPECT_EQ(held(sequence), "");
  ServedSequence& whole = add(state);
  reuse().restore(whole, ids(state + " and more"));
  EXPECT_EQ(whole.n_computed, 100u);
}

TEST_F(PrefixReuseTest, WhatASequenceLosesComesBackFromMemory) {
  cache_ = PromptCache::open({.model_key = "m", .memory_bytes_max = 10000, .folder = {}});
  const std::string one(200, '1'), two(200, '2');
  ServedSequence& sequence = add(one);
  reuse().restore(sequence, ids(two));
  EXPECT_EQ(sequence.n_computed, 0u);
  sequence.tokens = ids(two);
  sequence.n_computed = two.size();
  engine_.context[sequence.seq] = two;
  reuse().restore(sequence, ids(one + " more"));
  EXPECT_EQ(held(sequence), one);
  EXPECT_EQ(cache_->stats().restored, 1u);
}

// Computes `text` as the scheduler does, with a checkpoint where one is due.
class CheckpointTest : public PrefixReuseTest {
 protected:
  CheckpointTest() {
    cache_ = PromptCache::open({.model_key = "m", .memory_bytes_max = 100000, .folder = {}});
    sequence_ = &add("");
    engine_.info.n_ctx = 4000;
    engine_.pass_max = 64;
  }
  size_t compute(const std::string& text) {
    reuse().restore(*sequence_, ids(text));
    const size_t n_reused = sequence_->n_computed;
    sequence_->tokens = ids(text);
    reuse().plan_checkpoints(*sequence_);
    while (sequence_->n_computed < text.size()) {
      size_t end = std::min(text.size(), sequence_->n_computed + 64);
      if (sequence_->n_computed < sequence_->stop_at) end = std::min(end, sequence_->stop_at);
      std::vector<BatchToken> batch;
      for (size_t at = sequence_->n_computed; at < end; ++at)
        batch.push_back({sequence_->tokens[at], static_cast<int32_t>(at), sequence_->seq, false});
      EXPECT_TRUE(engine_.decode(batch));
      sequence_->n_computed = sequence_->n_as_prompt = end;
      reuse().checkpoint(*sequence_);
    }
    return n_reused;
  }
  std::vector<size_t> checkpoints() {
    std::vector<size_t> sizes;
    for (const PromptCache::Kept& kept : cache_->kept())
      if (kept.part == StatePart::kCheckpoint) sizes.push_back(kept.tokens.size());
    std::sort(sizes.begin(), sizes.end());
    return sizes;
  }
  ServedSequence* sequence_ = nullptr;
};

TEST_F(CheckpointTest, AreKeptOnTheWayAndAtThePromptsLastCut) {
  engine_.become(ScriptedEngine::Kind::kWindowed);
  compute(std::string(1300, 'p'));
  EXPECT_THAT(checkpoints(), testing::ElementsAre(512, 1024, 1216));
}

TEST_F(CheckpointTest, AreNotKeptOfWhatCanBeCut) {
  compute(std::string(1300, 'p'));
  EXPECT_THAT(checkpoints(), testing::IsEmpty());
}

TEST_F(CheckpointTest, TakeAWindowBackToWhereItWas) {
  engine_.become(ScriptedEngine::Kind::kWindowed);
  const std::string prompt(1300, 'p');
  compute(prompt);
  EXPECT_EQ(compute(prompt.substr(0, 1100) + std::string(300, 'q')), 1024u);
  EXPECT_EQ(compute(prompt.substr(0, 600) + std::string(100, 'r')), 512u);
}

// Of what it stands on, a part was computed again since, token by token.
TEST_F(CheckpointTest, AreNoPromptBehindWhatWasComputedAsAnAnswer) {
  engine_.become(ScriptedEngine::Kind::kWindowed);
  const std::string prompt(1300, 'p');
  compute(prompt);
  sequence_->n_as_prompt = 512;
  reuse().restore(*sequence_, ids(prompt.substr(0, 1100) + std::string(300, 'q')));
  EXPECT_EQ(sequence_->n_computed, 1024u);
  EXPECT_EQ(sequence_->n_as_prompt, 512u);
}

TEST_F(CheckpointTest, StandOnWhatAnotherSequenceHolds) {
  engine_.become(ScriptedEngine::Kind::kWindowed);
  const std::string prompt(1300, 'p');
  compute(prompt);
  sequence_->job = std::make_unique<ServingJob>();
  sequence_ = &add("");
  EXPECT_EQ(compute(prompt.substr(0, 1100) + std::string(300, 'q')), 1024u);
}

TEST_F(CheckpointTest, OfARecurrentModelNeedNothingToStandOn) {
  engine_.become(ScriptedEngine::Kind::kRecurrent);
  const std::string prompt(1300, 'p');
  compute(prompt);
  compute("something else entirely");
  EXPECT_EQ(compute(prompt), 1216u);
}

TEST_F(CheckpointTest, BecomeSparserTowardsTheBeginningWhenThereIsNoRoom) {
  engine_.become(ScriptedEngine::Kind::kWindowed, 100);
  engine_.info.n_ctx = 20000;
  cache_ = PromptCache::open({.model_key = "m", .memory_bytes_max = 400000, .folder = {}});
  compute(std::string(15000, 'p'));
  const std::vector<size_t> sizes = checkpoints();
  ASSERT_GE(sizes.size(), 4u);
  EXPECT_EQ(sizes.back(), 14912u);
  EXPECT_GT(sizes[1] - sizes[0], sizes[sizes.size() - 2] - sizes[sizes.size() - 3]);
}

TEST_F(PrefixReuseTest, AConversationIsWrittenAgainWhenItHasGrownByAQuarter) {
  const TempFolder folder;
  cache_ =
      PromptCache::open({.model_key = "m", .folder = folder.path(), .disk_bytes_max = 100000, .disk_tokens_min = 16});
  const auto write = [this](size_t n) {
    reuse().store_when_grown(add(std::string(n, 'x')));
    return cache_->stats().stored;
  };
  EXPECT_EQ(write(100), 1u);
  EXPECT_EQ(write(110), 1u);
  EXPECT_EQ(write(130), 2u);
}

}  // namespace
}  // namespace spillway
