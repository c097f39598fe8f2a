// SPDX-License-Identifier: MIT
#include "serving/prefix_reuse.h"

#include <gmock/gmock.h>

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

TEST_F(PrefixReuseTest, ASlotThatContinuesIsChosenBeforeTheLeastRecentlyUsed) {
  add("something else", 1);
  ServingSlot& mine = add("my conversation", 2);
  EXPECT_EQ(reuse().choose_slot(ids("my conversation goes on")), &mine);
}

TEST_F(PrefixReuseTest, ALongConversationIsNotGivenUpForAShortBeginning) {
  add("system prompt, and a conversation that is much longer than its beginning", 2);
  ServingSlot& empty = add("", 1);
  EXPECT_EQ(reuse().choose_slot(ids("system prompt")), &empty);
}

TEST_F(PrefixReuseTest, ABusySlotIsNotChosen) {
  add("all are busy").job = std::make_unique<ServingJob>();
  EXPECT_EQ(reuse().choose_slot(ids("x")), nullptr);
}

TEST_F(PrefixReuseTest, WhatFollowsACommonBeginningIsForgotten) {
  ServingSlot& slot = add("the same beginning, another end");
  reuse().bring(slot, ids("the same beginning and on"));
  EXPECT_EQ(slot.n_computed, 18u);
  EXPECT_EQ(held(slot), "the same beginning");
}

TEST_F(PrefixReuseTest, TheLastTokenIsComputedAgain) {
  ServingSlot& slot = add("the same");
  reuse().bring(slot, ids("the same"));
  EXPECT_EQ(held(slot), "the sam");
}

TEST_F(PrefixReuseTest, ALongBeginningIsCopiedFromAnotherSlot) {
  const std::string beginning(40, 'b');
  add(beginning + " one").job = std::make_unique<ServingJob>();
  ServingSlot& slot = add("short");
  reuse().bring(slot, ids(beginning + " two"));
  EXPECT_EQ(held(slot), beginning + " ");
  EXPECT_EQ(held(*slots_[0]), beginning + " one");
}

TEST_F(PrefixReuseTest, ARecurrentStateServesAsAWholeOrNotAtAll) {
  engine_.info.can_trim = false;
  ServingSlot& slot = add("a state of all of this");
  reuse().bring(slot, ids("a state of all of that"));
  EXPECT_EQ(slot.n_computed, 0u);
  EXPECT_EQ(held(slot), "");
  ServingSlot& whole = add("a state");
  reuse().bring(whole, ids("a state and more"));
  EXPECT_EQ(whole.n_computed, 7u);
}

TEST_F(PrefixReuseTest, WhatASlotLosesComesBackFromMemory) {
  cache_ = PromptCache::open({.model_key = "m", .memory_bytes_max = 10000, .folder = {}});
  const std::string one = "a conversation that is long enough to be kept",
                    two = "another one that takes its place here";
  ServingSlot& slot = add(one);
  reuse().bring(slot, ids(two));
  EXPECT_EQ(slot.n_computed, 1u);
  slot.tokens = ids(two);
  slot.n_computed = two.size();
  engine_.context[slot.seq] = two;
  reuse().bring(slot, ids(one + " more"));
  EXPECT_EQ(held(slot), one);
  EXPECT_EQ(cache_->stats().restored, 1u);
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
