// SPDX-License-Identifier: MIT
#include "serving/sequence_answer.h"

#include <gmock/gmock.h>

#include "serving/scripted_engine.h"

namespace spillway {
namespace {

class SequenceAnswerTest : public testing::Test {
 protected:
  SequenceAnswerTest() {
    sequence_.job = std::make_unique<ServingJob>();
    sequence_.job->ticket = std::make_shared<Ticket>();
    engine_.answer = [](const std::string&) { return "one two three"; };
  }
  GenerateRequest& request() { return sequence_.job->request; }

  void begin() {
    for (const char c : std::string("q<assistant>")) sequence_.tokens.push_back(static_cast<unsigned char>(c));
    answer_.begin(sequence_);
  }
  // One pass and what is chosen from it.
  AnswerStep step() {
    std::vector<BatchToken> batch;
    for (size_t at = sequence_.n_computed; at < sequence_.tokens.size(); ++at)
      batch.push_back({sequence_.tokens[at], static_cast<int32_t>(at), 0, at + 1 == sequence_.tokens.size()});
    EXPECT_TRUE(engine_.decode(batch));
    sequence_.n_computed = sequence_.tokens.size();
    return answer_.advance(sequence_, static_cast<int32_t>(batch.size()) - 1);
  }
  // Until it ends.
  FinishReason run() {
    for (;;) {
      const AnswerStep next = step();
      EXPECT_FALSE(next.failure);
      if (next.end || next.failure) return next.end.value_or(FinishReason::kEnd);
    }
  }
  std::string text() { return sequence_.job->ticket->wait(std::chrono::milliseconds(0)).text; }

  ScriptedEngine engine_;
  SequenceAnswer answer_{engine_};
  ServedSequence sequence_;
};

TEST_F(SequenceAnswerTest, GoesOnUntilTheModelEndsIt) {
  begin();
  EXPECT_EQ(run(), FinishReason::kEnd);
  EXPECT_EQ(text(), "one two three");
  EXPECT_EQ(sequence_.n_answer, 13u);
}

TEST_F(SequenceAnswerTest, EndsAtItsLength) {
  request().max_tokens = 3;
  begin();
  EXPECT_EQ(run(), FinishReason::kMaxTokens);
  EXPECT_EQ(text(), "one");
}

TEST_F(SequenceAnswerTest, EndsBeforeItsStopString) {
  request().stop = {" three"};
  begin();
  EXPECT_EQ(run(), FinishReason::kStopString);
  EXPECT_EQ(text(), "one two");
}

// What goes on from here has not seen the stop string.
TEST_F(SequenceAnswerTest, WhatIsKeptEndsBeforeTheStopString) {
  request().stop = {" t"};
  begin();
  EXPECT_EQ(run(), FinishReason::kStopString);
  EXPECT_EQ(answer_.tokens_before_stop(sequence_), *engine_.tokenize("q<assistant>one", false, false));
}

// One token may hold the end of the text that is kept and the beginning of the stop string.
class EngineOfLongTokens : public ScriptedEngine {
 public:
  std::string token_text(TokenId id, bool special) const override {
    return id == 'e' ? "e tw" : ScriptedEngine::token_text(id, special);
  }
};

TEST_F(SequenceAnswerTest, ATokenThatHoldsTheBeginningOfAStopStringIsReplacedByWhatComesBefore) {
  EngineOfLongTokens engine;
  engine.answer = engine_.answer;
  SequenceAnswer answer(engine);
  request().stop = {" t"};
  sequence_.tokens = *engine.tokenize("q<assistant>on", false, false);
  sequence_.tokens.push_back('e');
  sequence_.n_answer = 3;
  sequence_.written_bytes = 6;
  sequence_.shown_bytes = 3;
  EXPECT_EQ(answer.tokens_before_stop(sequence_), *engine.tokenize("q<assistant>one", false, false));
}

TEST_F(SequenceAnswerTest, AFullContextEndsIt) {
  engine_.info.n_ctx = 16;
  begin();
  EXPECT_EQ(run(), FinishReason::kContextFull);
  EXPECT_EQ(sequence_.tokens.size(), 16u);
}

TEST_F(SequenceAnswerTest, AShiftForgetsTheOlderHalfBehindWhatIsKept) {
  engine_.info.n_ctx = 16;
  request().shift = true;
  request().n_keep = 2;
  begin();
  AnswerStep next;
  while (next.shifted.empty()) {
    next = step();
    ASSERT_FALSE(next.end);
  }
  std::string left;
  for (const TokenId id : next.shifted) left += static_cast<char>(id);
  EXPECT_EQ(left, "q<nt>one ");
}

TEST_F(SequenceAnswerTest, AGrammarThatLeadsNowhereFailsTheAnswer) {
  request().sampling.grammar = *Grammar::parse("root ::= \"impossible\"");
  begin();
  const AnswerStep failed = step();
  ASSERT_TRUE(failed.failure);
  EXPECT_EQ(failed.failure->code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace spillway
