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
  // A free slot that holds `text`.
  ServingSlot& add(const std::string& text, uint64_t used = 0) {
    auto slot = std::make_unique<ServingSlot>();
    slot->seq = static_cast<int32_t>(slots_.size());
    slot->tokens = ids(text);
    slot->n_computed = text.size();
    slot->used = used;
    engine_.context[slot->seq] = text;
    slots_.push_back(std::move(slot));
    return *slots_.back();
  }
  PrefixReuse reuse() { return {engine_, slots_, cache_.get()}; }
  std::string held(const ServingSlot& slot) { return engine_.context[slot.seq]; }

  ScriptedEngine engine_;
  ServingSlots slots_;
  std::unique_ptr<PromptCache> cache_;
};

// Tokens as a prompt leaves them.
ServingSlot& as_prompt(ServingSlot& slot) {
  slot.n_as_prompt = slot.n_computed;
  return slot;
}

TEST_F(PrefixReuseTest, ASlotThatContinuesIsChosenBeforeTheLeastRecentlyUsed) {
  add("something else", 1);
  ServingSlot& mine = add(std::string(100, 'm'), 2);
  EXPECT_EQ(reuse().choose_slot(ids(std::string(100, 'm') + " goes on")), &mine);
}

TEST_F(PrefixReuseTest, ALongConversationIsNotGivenUpForAShortBeginning) {
  add("system prompt" + std::string(400, 'c'), 2);
  ServingSlot& empty = add("", 1);
  EXPECT_EQ(reuse().choose_slot(ids("system prompt" + std::string(100, 'c') + "other")), &empty);
}

TEST_F(PrefixReuseTest, ABusySlotIsNotChosen) {
  add("all are busy").job = std::make_unique<ServingJob>();
  EXPECT_EQ(reuse().choose_slot(ids("x")), nullptr);
}

TEST_F(PrefixReuseTest, WhatFollowsACommonBeginningIsForgotten) {
  const std::string beginning(300, 'b');
  ServingSlot& slot = add(beginning + ", another end");
  reuse().bring(slot, ids(beginning + " and on"));
  EXPECT_EQ(slot.n_computed, 300u);
  EXPECT_EQ(held(slot), beginning);
}

TEST_F(PrefixReuseTest, OfAPromptWholePartsAreReused) {
  const std::string beginning(300, 'b');
  ServingSlot& slot = as_prompt(add(beginning + ", another end"));
  reuse().bring(slot, ids(beginning + " and on" + std::string(64, 'o')));
  EXPECT_EQ(slot.n_computed, 256u);
  EXPECT_EQ(slot.n_as_prompt, 256u);
  EXPECT_EQ(held(slot), beginning.substr(0, 256));
}

// An answer that is long enough is not computed again; behind it nothing has the bits of a prompt.
TEST_F(PrefixReuseTest, BehindAPromptALongAnswerIsReusedAsItIs) {
  const std::string prompt(200, 'p'), answer(200, 'a');
  ServingSlot& slot = add(prompt + answer);
  slot.n_as_prompt = 192;
  reuse().bring(slot, ids(prompt + answer + " next"));
  EXPECT_EQ(slot.n_computed, 400u);
  EXPECT_EQ(slot.n_as_prompt, 192u);
}

TEST_F(PrefixReuseTest, AFewTokensAreNotWorthIt) {
  ServingSlot& slot = add(std::string(63, 'b'));
  reuse().bring(slot, ids(std::string(63, 'b') + " and on"));
  EXPECT_EQ(slot.n_computed, 0u);
}

TEST_F(PrefixReuseTest, ALongBeginningIsCopiedFromAnotherSlotThroughTheCache) {
  cache_ = PromptCache::open({.model_key = "m", .memory_bytes_max = 10000, .folder = {}});
  const std::string beginning(300, 'b');
  add(beginning + " one").job = std::make_unique<ServingJob>();
  ServingSlot& slot = add("short");
  reuse().bring(slot, ids(beginning + " two"));
  EXPECT_EQ(held(slot), beginning + " ");
  EXPECT_EQ(held(*slots_[0]), beginning + " one");
}

TEST_F(PrefixReuseTest, WhereMemoryHasNoRoomForItTheCopyGoesThroughTheDisk) {
  const TempFolder folder;
  cache_ =
      PromptCache::open({.model_key = "m", .memory_bytes_max = 100, .folder = folder.path(), .disk_bytes_max = 10000});
  const std::string beginning(300, 'b');
  add(beginning + " one").job = std::make_unique<ServingJob>();
  ServingSlot& slot = add("short");
  reuse().bring(slot, ids(beginning + " two"));
  EXPECT_EQ(held(slot), beginning + " ");
}

TEST_F(PrefixReuseTest, ARecurrentStateServesAsAWholeOrNotAtAll) {
  engine_.become(ScriptedEngine::Kind::kHybrid);
  const std::string state(100, 's');
  ServingSlot& slot = add(state + "that");
  reuse().bring(slot, ids(state + "this"));
  EXPECT_EQ(slot.n_computed, 0u);
  EXPECT_EQ(held(slot), "");
  ServingSlot& whole = add(state);
  reuse().bring(whole, ids(state + " and more"));
  EXPECT_EQ(whole.n_computed, 100u);
}

TEST_F(PrefixReuseTest, WhatASlotLosesComesBackFromMemory) {
  cache_ = PromptCache::open({.model_key = "m", .memory_bytes_max = 10000, .folder = {}});
  const std::string one(200, '1'), two(200, '2');
  ServingSlot& slot = add(one);
  reuse().bring(slot, ids(two));
  EXPECT_EQ(slot.n_computed, 0u);
  slot.tokens = ids(two);
  slot.n_computed = two.size();
  engine_.context[slot.seq] = two;
  reuse().bring(slot, ids(one + " more"));
  EXPECT_EQ(held(slot), one);
  EXPECT_EQ(cache_->stats().restored, 1u);
}

// Computes `text` as the scheduler does, with a checkpoint where one is due.
class CheckpointTest : public PrefixReuseTest {
 protected:
  CheckpointTest() {
    cache_ = PromptCache::open({.model_key = "m", .memory_bytes_max = 100000, .folder = {}});
    slot_ = &add("");
    engine_.info.n_ctx = 4000;
    engine_.pass_max = 64;
  }
  size_t compute(const std::string& text) {
    reuse().bring(*slot_, ids(text));
    const size_t n_reused = slot_->n_computed;
    slot_->tokens = ids(text);
    reuse().plan_checkpoints(*slot_);
    while (slot_->n_computed < text.size()) {
      size_t end = std::min(text.size(), slot_->n_computed + 64);
      if (slot_->n_computed < slot_->stop_at) end = std::min(end, slot_->stop_at);
      std::vector<BatchToken> batch;
      for (size_t at = slot_->n_computed; at < end; ++at)
        batch.push_back({slot_->tokens[at], static_cast<int32_t>(at), slot_->seq, false});
      EXPECT_TRUE(engine_.decode(batch));
      slot_->n_computed = slot_->n_as_prompt = end;
      reuse().checkpoint(*slot_);
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
  ServingSlot* slot_ = nullptr;
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

TEST_F(CheckpointTest, StandOnWhatAnotherSlotHolds) {
  engine_.become(ScriptedEngine::Kind::kWindowed);
  const std::string prompt(1300, 'p');
  compute(prompt);
  slot_->job = std::make_unique<ServingJob>();
  slot_ = &add("");
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
