// SPDX-License-Identifier: MIT
#include "serving/scheduler.h"

#include <gmock/gmock.h>

#include <cmath>
#include <future>
#include <mutex>
#include <random>
#include <semaphore>
#include <set>

#include "os/temp_folder.h"
#include "serving/scripted_engine.h"
#include "serving/token_ids.h"

namespace spillway {
namespace {

using testing::HasSubstr;

GenerateRequest ask(const std::string& prompt, int64_t max_tokens = 10) {
  GenerateRequest request;
  request.prompt = ids(prompt);
  request.max_tokens = max_tokens;
  return request;
}

struct Answer {
  std::string text;
  std::vector<TokenScore> scores;
  Outcome outcome;
};

Answer wait_for(Ticket& ticket) {
  Answer answer;
  for (;;) {
    TicketUpdate update = ticket.wait(std::chrono::seconds(60));
    answer.text += update.text;
    for (TokenScore& score : update.scores) answer.scores.push_back(std::move(score));
    if (!update.outcome) continue;
    answer.outcome = std::move(*update.outcome);
    return answer;
  }
}

// Holds the decode thread before each pass until it is let through.
class Turnstile {
 public:
  explicit Turnstile(ScriptedEngine& engine) {
    engine.on_decode = [this](std::span<const BatchToken>) -> Result<void> {
      arrived_.release();
      passes_.acquire();
      return {};
    };
  }
  void wait_until_in_pass() { arrived_.acquire(); }
  void let_through(int n = 1) { passes_.release(n); }
  void open() { passes_.release(1 << 20); }

 private:
  std::counting_semaphore<1 << 24> arrived_{0}, passes_{0};
};

class SchedulerTest : public testing::Test {
 protected:
  Answer answer(const GenerateRequest& request) {
    auto ticket = scheduler().submit(request);
    EXPECT_TRUE(ticket) << ticket.error().message();
    return wait_for(**ticket);
  }
  Scheduler& scheduler() {
    if (!scheduler_) scheduler_ = Scheduler::start(engine_, options_);
    return *scheduler_;
  }

  ScriptedEngine engine_;
  SchedulerOptions options_{.n_sequences = 3};
  std::unique_ptr<PromptCache> cache_;
  std::unique_ptr<Scheduler> scheduler_;  // last: it uses the others
};

TEST_F(SchedulerTest, AnAnswerIsWhatTheModelSays) {
  const Answer got = answer(ask("hello", 12));
  EXPECT_EQ(got.text, ScriptedEngine::continuation("hello", 12));
  EXPECT_FALSE(got.outcome.failure);
  EXPECT_EQ(got.outcome.prompt_tokens, 5u);
  EXPECT_EQ(got.outcome.answer_tokens, got.text.size());
  EXPECT_EQ(got.outcome.context, ids("hello" + got.text));
}

TEST_F(SchedulerTest, OneReadingOfTheWeightsServesAllSequences) {
  engine_.answer = [](const std::string&) { return std::string(20, 'x'); };
  Turnstile turnstile(engine_);
  std::vector<std::shared_ptr<Ticket>> tickets;
  tickets.push_back(*scheduler().submit(ask("one<assistant>", 8)));
  turnstile.wait_until_in_pass();
  for (const char* prompt : {"two<assistant>", "three<assistant>"})
    tickets.push_back(*scheduler().submit(ask(prompt, 8)));
  turnstile.open();
  for (const auto& ticket : tickets) EXPECT_EQ(wait_for(*ticket).text, "xxxxxxxx");
  scheduler_.reset();
  size_t together = 0;
  for (const auto& pass : engine_.passes) {
    std::set<int32_t> seqs;
    for (const BatchToken& token : pass) seqs.insert(token.seq);
    together += seqs.size() == 3;
  }
  EXPECT_GE(together, 5u);
}

TEST_F(SchedulerTest, ALongPromptDoesNotStallAnAnswer) {
  engine_.answer = [](const std::string& prompt) { return prompt.size() > 100 ? "long" : std::string(50, 'x'); };
  engine_.pass_max = 16;
  Turnstile turnstile(engine_);
  const auto first = *scheduler().submit(ask("short<assistant>", 20));
  turnstile.wait_until_in_pass();
  const auto second = *scheduler().submit(ask(std::string(200, 'p') + "<assistant>"));
  turnstile.open();
  wait_for(*first);
  wait_for(*second);
  scheduler_.reset();
  // While both ran, every second pass brought the answer one token further.
  for (size_t i = 1; i < 24; i += 2) EXPECT_EQ(engine_.passes[i].front().seq, engine_.passes[0].front().seq) << i;
}

TEST_F(SchedulerTest, AShortPromptDoesNotWaitForALongOne) {
  engine_.pass_max = 64;
  Turnstile turnstile(engine_);
  const auto long_one = *scheduler().submit(ask(std::string(900, 'p'), 1));
  turnstile.wait_until_in_pass();
  const auto short_one = *scheduler().submit(ask("short", 1));
  turnstile.open();
  wait_for(*short_one);
  wait_for(*long_one);
  scheduler_.reset();
  EXPECT_EQ(engine_.passes[1].size(), 5u) << "its turn comes with the next pass";
}

TEST_F(SchedulerTest, ATurnThatFollowsComputesOnlyWhatIsNew) {
  const std::string preamble = "system prompt. " + std::string(60, 's') + " question one";
  const Answer first = answer(ask(preamble, 150));
  const std::string history = preamble + first.text;
  const Answer second = answer(ask(history + " question two", 10));
  EXPECT_EQ(second.text, ScriptedEngine::continuation(history + " question two", 10));
  EXPECT_GE(second.outcome.cached_tokens, history.size() - 1);
}

// Which costs less than a pass, and gives the bits of a server that computed all of it.
TEST_F(SchedulerTest, AFewTokensOfAnAnswerAreComputedAgainAsAPrompt) {
  engine_.pass_max = 256;
  const std::string preamble(200, 's');
  const Answer first = answer(ask(preamble, 5));
  const std::string prompt = preamble + first.text + std::string(70, 't');
  const Answer second = answer(ask(prompt, 10));
  EXPECT_EQ(second.text, ScriptedEngine::continuation(prompt, 10));
  EXPECT_EQ(second.outcome.cached_tokens, 192u);
}

TEST_F(SchedulerTest, ATailThatChangesKeepsWhatIsBeforeIt) {
  engine_.pass_max = 256;
  const std::string preamble(200, 'p');
  answer(ask(preamble + " [volatile: 1]" + std::string(80, 'v'), 1));
  const std::string prompt = preamble + ", a tool's result [volatile: 2]" + std::string(80, 'w');
  const Answer second = answer(ask(prompt, 5));
  EXPECT_EQ(second.outcome.cached_tokens, 192u) << "whole parts of it";
  EXPECT_EQ(second.text, ScriptedEngine::continuation(prompt, 5));
}

TEST_F(SchedulerTest, TheSamePromptAgainComputesItsLastPartAgain) {
  engine_.pass_max = 256;
  answer(ask(std::string(300, 'a'), 3));
  EXPECT_EQ(answer(ask(std::string(300, 'a'), 3)).outcome.cached_tokens, 192u);
}

TEST_F(SchedulerTest, AShortPromptIsComputedAsAWhole) {
  answer(ask("once and again", 3));
  EXPECT_EQ(answer(ask("once and again", 3)).outcome.cached_tokens, 0u);
}

TEST_F(SchedulerTest, APrefixIsTakenFromASequenceThatIsBusy) {
  engine_.pass_max = 256;
  cache_ = PromptCache::open({.model_key = "m", .memory_bytes_max = 10000, .folder = {}});
  options_.prompt_cache = cache_.get();
  const std::string preamble(280, 'p');
  engine_.answer = [](const std::string&) { return std::string(50, 'x'); };
  Turnstile turnstile(engine_);
  const auto first = *scheduler().submit(ask(preamble + "A<assistant>", 40));
  turnstile.wait_until_in_pass();
  turnstile.let_through(8);
  for (int i = 0; i < 8; ++i) turnstile.wait_until_in_pass();
  const auto second = *scheduler().submit(ask(preamble + "B<assistant>", 5));
  turnstile.open();
  EXPECT_EQ(wait_for(*second).outcome.cached_tokens, 192u);
  EXPECT_EQ(wait_for(*first).text, std::string(40, 'x'));
}

TEST_F(SchedulerTest, AConversationThatLostItsSequenceComesBackFromThePromptCache) {
  engine_.pass_max = 256;
  cache_ = PromptCache::open({.model_key = "m", .memory_bytes_max = 10000, .folder = {}});
  options_ = {.n_sequences = 1, .prompt_cache = cache_.get()};
  const std::string one = "conversation one, long enough to be kept: " + std::string(150, 'k');
  const std::string two = "something else that is as long as that " + std::string(150, 'l');
  answer(ask(one, 5));
  answer(ask(two, 5));
  const Answer back = answer(ask(one + "more", 5));
  EXPECT_EQ(back.outcome.cached_tokens, 128u);
  EXPECT_EQ(back.text, ScriptedEngine::continuation(one + "more", 5));
}

TEST_F(SchedulerTest, APreambleSurvivesARestart) {
  engine_.pass_max = 256;
  const TempFolder folder;
  const PromptCacheOptions on_disk{
      .model_key = "m", .folder = folder.path(), .disk_bytes_max = 100000, .disk_tokens_min = 16};
  const std::string preamble = "ten thousand tokens of an agent's preamble " + std::string(200, 'p');
  {
    const auto cache = PromptCache::open(on_disk);
    options_.prompt_cache = cache.get();
    answer(ask(preamble + "one", 5));
    scheduler().save_sequences();
    scheduler_.reset();
  }
  ScriptedEngine restarted;
  const auto cache = PromptCache::open(on_disk);
  const auto scheduler = Scheduler::start(restarted, {.n_sequences = 2, .prompt_cache = cache.get()});
  const Answer second = wait_for(**scheduler->submit(ask(preamble + "two", 5)));
  EXPECT_EQ(second.outcome.cached_tokens, 128u);
  EXPECT_EQ(second.text, ScriptedEngine::continuation(preamble + "two", 5));
  EXPECT_LT(restarted.n_computed, preamble.size());
}

TEST_F(SchedulerTest, WhatCannotBeCutIsTakenBackToACheckpoint) {
  for (const auto kind :
       {ScriptedEngine::Kind::kWindowed, ScriptedEngine::Kind::kRecurrent, ScriptedEngine::Kind::kHybrid}) {
    ScriptedEngine engine;
    engine.become(kind);
    engine.pass_max = 256;
    const auto cache = PromptCache::open({.model_key = "m", .memory_bytes_max = 100000, .folder = {}});
    const auto scheduler = Scheduler::start(engine, {.n_sequences = 1, .prompt_cache = cache.get()});
    const auto answer = [&](const std::string& prompt) {
      Answer got = wait_for(**scheduler->submit(ask(prompt, 5)));
      EXPECT_EQ(got.text, ScriptedEngine::continuation(prompt, 5));
      return got.outcome.cached_tokens;
    };
    const std::string prompt(900, 'p');
    answer(prompt);  // checkpoints at 512 and 832 tokens
    EXPECT_EQ(answer(prompt.substr(0, 550) + "other" + std::string(100, 'o')), 512u);
    EXPECT_EQ(answer(prompt + "more"), kind == ScriptedEngine::Kind::kRecurrent ? 832u : 512u)
        << "what the later one stands on is gone";
    EXPECT_EQ(answer(prompt), 832u);
  }
}

TEST_F(SchedulerTest, AnAnswerEndsBeforeItsStopString) {
  engine_.answer = [](const std::string&) { return "yes END no"; };
  GenerateRequest request = ask("q<assistant>", 50);
  request.stop = {"END", "never"};
  const Answer got = answer(request);
  EXPECT_EQ(got.text, "yes ");
  EXPECT_EQ(got.outcome.reason, FinishReason::kStopString);
  EXPECT_EQ(got.outcome.stop_string, "END");
}

TEST_F(SchedulerTest, TextIsWholeCharacters) {
  engine_.answer = [](const std::string&) { return "\xE2\x82\xAC\xFF!"; };
  EXPECT_EQ(answer(ask("q<assistant>", 50)).text, "\xE2\x82\xAC\xEF\xBF\xBD!");
}

TEST_F(SchedulerTest, LengthsAreReasons) {
  engine_.answer = [](const std::string&) { return std::string(5000, 'x'); };
  EXPECT_EQ(answer(ask("a<assistant>", 7)).outcome.reason, FinishReason::kMaxTokens);
  engine_.info.n_ctx = 40;
  const Answer full = answer(ask("b<assistant>", -1));
  EXPECT_EQ(full.outcome.reason, FinishReason::kContextFull);
  EXPECT_EQ(full.text.size(), 40 - std::string("b<assistant>").size());
  const Answer none = answer(ask("c<assistant>", 0));
  EXPECT_EQ(none.outcome.reason, FinishReason::kMaxTokens);
  EXPECT_EQ(none.text, "");
}

// What the answer is without a context that ends: the plain model, which forgets as the request says.
std::string shifted_answer(std::string held, size_t n_ctx, size_t n_keep, size_t n) {
  std::string text;
  while (text.size() < n) {
    char c = ScriptedEngine::next_char(held);
    if (c == '\x1a') break;
    text += c;
    held += c;
    if (held.size() == n_ctx) held.erase(n_keep, (n_ctx - n_keep) / 2);
  }
  return text;
}

TEST_F(SchedulerTest, AShiftGoesOnAsIfWhatIsLeftHadAlwaysBeenAll) {
  for (const auto kind : {ScriptedEngine::Kind::kDense, ScriptedEngine::Kind::kWindowed,
                          ScriptedEngine::Kind::kRecurrent, ScriptedEngine::Kind::kHybrid}) {
    ScriptedEngine engine;
    engine.become(kind);
    const auto scheduler = Scheduler::start(engine, {.n_sequences = 2});
    for (const size_t n_ctx : {40u, 150u}) {
      GenerateRequest request = ask("keep this: once upon a time", 600);
      request.n_ctx = n_ctx;
      request.shift = true;
      request.n_keep = 10;
      const Answer got = wait_for(**scheduler->submit(request));
      EXPECT_EQ(got.text, shifted_answer("keep this: once upon a time", n_ctx, 10, 600));
      EXPECT_LE(got.outcome.context.size(), n_ctx);
    }
    EXPECT_EQ(wait_for(**scheduler->submit(ask("keep this: once", 9))).text,
              ScriptedEngine::continuation("keep this: once", 9));
  }
}

TEST_F(SchedulerTest, ARequestsOwnContextBoundsPromptAndAnswer) {
  engine_.answer = [](const std::string&) { return std::string(5000, 'x'); };
  GenerateRequest request = ask("b<assistant>", -1);
  request.n_ctx = 40;
  const Answer full = answer(request);
  EXPECT_EQ(full.outcome.reason, FinishReason::kContextFull);
  EXPECT_EQ(full.outcome.context.size(), 40u);
  request.prompt = ids(std::string(41, 'p'));
  const auto refused = scheduler().submit(request);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kContextOverflow);
}

TEST_F(SchedulerTest, APromptBeyondTheContextIsRefusedInWordsClientsKnow) {
  engine_.info.n_ctx = 8;
  const auto refused = scheduler().submit(ask("0123456789"));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kContextOverflow);
  EXPECT_EQ(refused.error().message(),
            "request (10 tokens) exceeds the available context size (8 tokens), try increasing it");
}

TEST_F(SchedulerTest, WhatMakesNoSenseIsRefused) {
  EXPECT_EQ(scheduler().submit(ask("")).error().code(), Code::kInvalidArgument);
  GenerateRequest outside = ask("a");
  outside.prompt[0] = 999;
  EXPECT_EQ(scheduler().submit(outside).error().code(), Code::kInvalidArgument);
  GenerateRequest biased = ask("a");
  biased.sampling.logit_bias.assign(10'001, {1, 1.0f});
  EXPECT_EQ(scheduler().submit(biased).error().code(), Code::kInvalidArgument);
  GenerateRequest broken = ask("a");
  broken.sampling.grammar = *Grammar::parse("root ::= \"impossible\"");
  EXPECT_EQ(answer(broken).outcome.failure->code(), Code::kInvalidArgument);
  EXPECT_EQ(answer(ask("b", 3)).text, ScriptedEngine::continuation("b", 3));
}

TEST_F(SchedulerTest, AFullQueueIsBusy) {
  options_ = {.n_sequences = 1, .queue_max = 2};
  Turnstile turnstile(engine_);
  std::vector<std::shared_ptr<Ticket>> taken = {*scheduler().submit(ask("a"))};
  turnstile.wait_until_in_pass();
  for (int i = 0; i < 2; ++i) taken.push_back(*scheduler().submit(ask("b")));
  const auto refused = scheduler().submit(ask("c"));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kBusy);
  EXPECT_THAT(refused.error().message(), HasSubstr("busy"));
  EXPECT_EQ(scheduler().stats().queued, 2u);
  turnstile.open();
  for (const auto& ticket : taken) EXPECT_FALSE(wait_for(*ticket).outcome.failure);
  EXPECT_EQ(scheduler().stats().refused, 1u);
}

TEST_F(SchedulerTest, WhoLeavesTheQueueMakesRoomInItAtOnce) {
  options_ = {.n_sequences = 1, .queue_max = 1};
  Turnstile turnstile(engine_);
  const auto running = *scheduler().submit(ask("a"));
  turnstile.wait_until_in_pass();
  const auto leaver = *scheduler().submit(ask("b"));
  EXPECT_FALSE(scheduler().submit(ask("c")));
  scheduler().cancel(*leaver);
  const auto next = scheduler().submit(ask("c"));
  EXPECT_EQ(scheduler().stats().cancelled, 1u);
  turnstile.open();
  EXPECT_EQ(wait_for(*leaver).outcome.failure->code(), Code::kCancelled);
  EXPECT_FALSE(wait_for(*running).outcome.failure);
  ASSERT_TRUE(next);
  EXPECT_FALSE(wait_for(**next).outcome.failure);
}

TEST_F(SchedulerTest, WhoGoesAwayFreesItsSequence) {
  options_.n_sequences = 1;
  engine_.answer = [](const std::string&) { return std::string(500, 'x'); };
  Turnstile turnstile(engine_);
  const auto first = *scheduler().submit(ask("a<assistant>", 400));
  turnstile.wait_until_in_pass();
  const auto waiting = *scheduler().submit(ask("b<assistant>", 400));
  const auto third = *scheduler().submit(ask("c<assistant>", 4));
  waiting->cancel();
  scheduler().cancel(*first);
  EXPECT_EQ(engine_.aborts, 1);
  turnstile.open();
  EXPECT_EQ(wait_for(*third).text, "xxxx");
  EXPECT_EQ(wait_for(*first).outcome.failure->code(), Code::kCancelled);
  EXPECT_EQ(wait_for(*waiting).outcome.failure->code(), Code::kCancelled);
}

TEST_F(SchedulerTest, APassIsBrokenOffOnlyWhenAllItComputesForAreGone) {
  engine_.answer = [](const std::string&) { return "x"; };
  Turnstile turnstile(engine_);
  const auto first = *scheduler().submit(ask("a", 400));
  turnstile.wait_until_in_pass();
  const auto leaver = *scheduler().submit(ask("b", 400)), second = *scheduler().submit(ask("c", 400));
  scheduler().cancel(*leaver);
  EXPECT_EQ(engine_.aborts, 0) << "who only waits is in nobody's pass";
  turnstile.let_through();
  turnstile.wait_until_in_pass();
  scheduler().cancel(*first);
  EXPECT_EQ(engine_.aborts, 0) << "another one is in it";
  scheduler().cancel(*second);
  EXPECT_EQ(engine_.aborts, 1);
  turnstile.open();
  for (const auto& ticket : {first, leaver, second})
    EXPECT_EQ(wait_for(*ticket).outcome.failure->code(), Code::kCancelled);
}

TEST_F(SchedulerTest, APassThatFailsCostsOnlyTheRequestWhoseFaultItIs) {
  for (const auto kind : {ScriptedEngine::Kind::kDense, ScriptedEngine::Kind::kHybrid}) {
    ScriptedEngine engine;
    engine.become(kind);
    Turnstile turnstile(engine);
    const auto hold = engine.on_decode;
    engine.on_decode = [&](std::span<const BatchToken> tokens) -> Result<void> {
      RETURN_IF_ERROR(hold(tokens));
      for (const BatchToken& token : tokens)
        if (token.id == '!') return error(Code::kIo, "the disk is on fire");
      return {};
    };
    const auto scheduler = Scheduler::start(engine, {.n_sequences = 3});
    const auto good = *scheduler->submit(ask("good one", 12));
    turnstile.wait_until_in_pass();
    const auto bad = *scheduler->submit(ask("bad one!", 12));
    const auto other = *scheduler->submit(ask("another", 12));
    turnstile.open();
    const Answer failed = wait_for(*bad);
    ASSERT_TRUE(failed.outcome.failure);
    EXPECT_EQ(failed.outcome.failure->message(), "the disk is on fire");
    EXPECT_EQ(wait_for(*good).text, ScriptedEngine::continuation("good one", 12));
    EXPECT_EQ(wait_for(*other).text, ScriptedEngine::continuation("another", 12));
  }
}

TEST_F(SchedulerTest, AGrammarThatIsDueLaterBeginsBehindTheThought) {
  engine_.answer = [](const std::string&) { return "hm</think>{}"; };
  GenerateRequest request = ask("q<assistant>", 50);
  request.sampling.grammar = *Grammar::parse("root ::= \"{}\"");
  request.grammar_after = "</think>";
  EXPECT_EQ(answer(request).text, "hm</think>{}");
  scheduler_.reset();
  EXPECT_EQ(engine_.grammars, (std::vector<std::string>{"", "root ::= \"{}\""}));
}

// The bytes of what was scored, and by how much each was not what the model would have chosen.
std::string show(const std::vector<TokenScore>& scores) {
  std::string out;
  for (const TokenScore& score : scores)
    out += score.bytes + (std::isnan(score.logprob) ? "?" : score.logprob > -2 ? "+" : "-");
  return out;
}

TEST_F(SchedulerTest, APromptIsScoredTokenByTokenHoweverItIsCutIntoPasses) {
  const std::string own = "ab" + ScriptedEngine::continuation("ab", 5);
  GenerateRequest request = ask(own, 0);
  request.scores = true;
  request.scores_from = 0;
  std::string likely = "a?b-";
  for (const char c : own.substr(2)) likely += std::string(1, c) + "+";
  for (const size_t outputs : {1u, 2u, 3u, 64u}) {
    engine_.outputs_max = outputs;
    const Answer got = answer(request);
    EXPECT_FALSE(got.outcome.failure);
    EXPECT_EQ(show(got.scores), likely) << outputs << " at once";
    EXPECT_EQ(got.outcome.reason, FinishReason::kMaxTokens);
    EXPECT_EQ(got.outcome.answer_tokens, 0u);
  }
  request.scores_from = 3;
  EXPECT_EQ(show(answer(request).scores), likely.substr(6)) << "what is held is not computed again";
}

TEST_F(SchedulerTest, ScoresOfAPromptComeBeforeThoseOfItsAnswerBesideOthers) {
  engine_.outputs_max = 2;
  GenerateRequest scored = ask("ab", 2), other = ask("other prompt", 8);
  scored.scores = true;
  scored.scores_from = 1;
  const auto ticket = *scheduler().submit(scored), beside = *scheduler().submit(other);
  const Answer got = wait_for(*ticket);
  EXPECT_EQ(got.scores.size(), 1 + got.outcome.answer_tokens);
  EXPECT_EQ(got.scores[0].bytes, "b");
  EXPECT_EQ(wait_for(*beside).text, ScriptedEngine::continuation("other prompt", 8));
}

TEST_F(SchedulerTest, AFreshRequestTakesNothingFromOthers) {
  GenerateRequest request = ask(std::string(200, 'a'), 1);
  answer(request);
  EXPECT_GT(answer(request).outcome.cached_tokens, 0u);
  request.fresh = true;
  EXPECT_EQ(answer(request).outcome.cached_tokens, 0u);
}

TEST_F(SchedulerTest, AnAnswerThatIsEnoughEndsAsIfTheModelHadEndedIt) {
  Turnstile turnstile(engine_);
  const auto ticket = *scheduler().submit(ask("running", 500));
  turnstile.wait_until_in_pass();
  ticket->end_now();
  turnstile.open();
  const Answer got = wait_for(*ticket);
  EXPECT_FALSE(got.outcome.failure);
  EXPECT_EQ(got.outcome.reason, FinishReason::kEnd);
  EXPECT_LT(got.outcome.answer_tokens, 3u);
}

TEST_F(SchedulerTest, ScoresComeWithTheirTokens) {
  engine_.answer = [](const std::string&) { return "ab"; };
  GenerateRequest request = ask("q<assistant>", 50);
  request.scores = true;
  request.top_scores = 2;
  const Answer got = answer(request);
  ASSERT_EQ(got.scores.size(), 2u);
  EXPECT_EQ(got.scores[0].bytes, "a");
  EXPECT_EQ(got.scores[0].top[0].bytes, "a");
  EXPECT_LT(got.scores[0].logprob, 0.0f);
}

TEST_F(SchedulerTest, WorkThatNobodyWaitsForIsNotBegunAndStopsWhereItRuns) {
  const Asker unwanted{.client = {}, .is_waiting = [] { return false; }};
  // What runs is told to stop until it does.
  const auto stopped = scheduler().run(
      [&](Engine&) -> Result<void> {
        while (engine_.aborts == 0) std::this_thread::yield();
        return error(Code::kCancelled, "stopped");
      },
      unwanted);
  EXPECT_EQ(stopped.error().code(), Code::kCancelled);
  // What waits behind a pass never begins, and the pass goes on.
  Turnstile turnstile(engine_);
  const auto running = *scheduler().submit(ask("running", 5));
  turnstile.wait_until_in_pass();
  const int n_aborts = engine_.aborts;
  bool begun = false;
  const auto dropped = scheduler().run(
      [&](Engine&) -> Result<void> {
        begun = true;
        return {};
      },
      unwanted);
  EXPECT_EQ(dropped.error().code(), Code::kCancelled);
  EXPECT_EQ(engine_.aborts, n_aborts);
  turnstile.open();
  EXPECT_EQ(wait_for(*running).text, ScriptedEngine::continuation("running", 5));
  EXPECT_FALSE(begun);
}

TEST_F(SchedulerTest, WorkTakesTurnsWithPassesHoweverMuchOfItWaits) {
  Turnstile turnstile(engine_);
  engine_.answer = [](const std::string&) { return "xxxxx"; };
  const auto running = *scheduler().submit(ask("q<assistant>", 5));
  turnstile.wait_until_in_pass();
  std::vector<size_t> passes_before;
  std::vector<std::future<Result<void>>> works;
  for (int i = 0; i < 3; ++i)
    works.push_back(std::async(std::launch::async, [&] {
      return scheduler_->run([&](Engine& engine) -> Result<void> {
        passes_before.push_back(engine.stats().passes);
        return {};
      });
    }));
  while (scheduler().stats().works < works.size()) std::this_thread::yield();
  turnstile.open();
  for (auto& work : works) EXPECT_TRUE(work.get());
  EXPECT_EQ(passes_before, (std::vector<size_t>{1, 2, 3}));
  EXPECT_EQ(wait_for(*running).text, "xxxxx");
}

TEST_F(SchedulerTest, WorkOfSeveralClientsIsDoneInTurns) {
  Turnstile turnstile(engine_);
  const auto running = *scheduler().submit(ask("running", 5));
  turnstile.wait_until_in_pass();
  std::string order;
  std::vector<std::future<Result<void>>> works;
  for (const char client : std::string("aaabc")) {
    works.push_back(std::async(std::launch::async, [&, client] {
      const auto note = [&order, client](Engine&) -> Result<void> {
        order += client;
        return {};
      };
      return scheduler_->run(note, {.client = std::string(1, client), .is_waiting = {}});
    }));
    while (scheduler().stats().works < works.size()) std::this_thread::yield();
  }
  turnstile.open();
  for (auto& work : works) EXPECT_TRUE(work.get());
  EXPECT_EQ(order, "abcaa");
  wait_for(*running);
}

TEST_F(SchedulerTest, ADrainEndsWhatRunsAndTakesNothingNew) {
  Turnstile turnstile(engine_);
  const auto running = *scheduler().submit(ask("running", 5));
  turnstile.wait_until_in_pass();
  EXPECT_FALSE(scheduler().drain(std::chrono::milliseconds(1)));
  EXPECT_EQ(scheduler().submit(ask("new")).error().code(), Code::kBusy);
  turnstile.open();
  EXPECT_TRUE(scheduler().drain(std::chrono::seconds(60)));
  EXPECT_EQ(wait_for(*running).text, ScriptedEngine::continuation("running", 5));
}

TEST_F(SchedulerTest, ItsEndIsAnOutcomeForEverybody) {
  options_.n_sequences = 1;
  engine_.answer = [](const std::string&) { return std::string(900, 'x'); };
  const auto running = *scheduler().submit(ask("a<assistant>", 900)), waiting = *scheduler().submit(ask("b", 900));
  scheduler_.reset();
  EXPECT_EQ(wait_for(*waiting).outcome.failure->code(), Code::kBusy);
  wait_for(*running);
}

TEST_F(SchedulerTest, WhoIsBrokenOffWithAllOthersMayAskAgain) {
  options_.n_sequences = 1;
  engine_.answer = [](const std::string&) { return std::string(900, 'x'); };
  Turnstile turnstile(engine_);
  const auto running = *scheduler().submit(ask("a<assistant>", 900)), waiting = *scheduler().submit(ask("b", 900));
  turnstile.wait_until_in_pass();
  scheduler().cancel_all();
  turnstile.open();
  for (const auto& ticket : {running, waiting}) EXPECT_EQ(wait_for(*ticket).outcome.failure->code(), Code::kBusy);
}

TEST_F(SchedulerTest, AnotherContextSizeWaitsForTheBusyAndReadsNoWeights) {
  const Answer before = answer(ask("before", 5));
  ASSERT_TRUE(scheduler().resize_context(2000));
  EXPECT_EQ(engine_.info.n_ctx, 2000u);
  const Answer after = answer(ask("before", 5));
  EXPECT_EQ(after.text, before.text);
  EXPECT_EQ(after.outcome.cached_tokens, 0u);
}

TEST_F(SchedulerTest, AContextSizeThatIsRefusedLeavesNothingBehind) {
  answer(ask("before", 5));
  engine_.on_resize = [](uint32_t) -> Result<void> { return error(Code::kOutOfBudget, "no room"); };
  EXPECT_FALSE(scheduler().resize_context(2000));
  EXPECT_EQ(answer(ask("something else", 5)).text, ScriptedEngine::continuation("something else", 5));
}

// Which ThreadSanitizer watches: whoever asks does so while the decode thread makes contexts.
TEST_F(SchedulerTest, TheContextSizeIsReadByAnyThreadWhileItChanges) {
  scheduler();
  std::atomic<bool> done = false;
  std::thread reader([&] {
    for (uint32_t before = 0; !done;) {
      const uint32_t now = scheduler_->n_ctx();
      EXPECT_GE(now, before);
      before = now;
      const auto refused = scheduler_->submit(ask(std::string(3000, 'x')));
      ASSERT_FALSE(refused);
      EXPECT_EQ(refused.error().code(), Code::kContextOverflow);
    }
  });
  for (uint32_t n = 1100; n <= 2000; n += 100) {
    EXPECT_TRUE(scheduler().resize_context(n));
    EXPECT_EQ(scheduler().n_ctx(), n);
    EXPECT_EQ(answer(ask("a", 3)).text, ScriptedEngine::continuation("a", 3));
  }
  done = true;
  reader.join();
}

class InterruptedAnswer : public SchedulerTest {
 protected:
  InterruptedAnswer() {
    options_ = {.n_sequences = 1, .resize_patience_s = 0};
    engine_.pass_max = 256;
    engine_.answer = [this](const std::string&) { return kAnswer; };
    engine_.on_resize = [this](uint32_t) -> Result<void> {
      held_bytes_ = engine_.context[0].size();
      if (!refusal_) return {};
      engine_.lost = refusal_->code() == Code::kUnavailable;
      return Failure(*refusal_);
    };
  }
  // Answers, and asks for another context in the middle of it, with one more request in the queue.
  Answer answer_while_resizing() {
    Turnstile turnstile(engine_);
    const auto running = *scheduler().submit(ask(prompt_, 200));
    turnstile.wait_until_in_pass();
    turnstile.let_through(5);
    for (int i = 0; i < 5; ++i) turnstile.wait_until_in_pass();
    auto resize = std::async(std::launch::async, [this] { return scheduler().resize_context(2000); });
    while (!scheduler().stats().resizing) std::this_thread::yield();
    const auto waiting = *scheduler().submit(ask(kOther, 1));
    turnstile.open();
    resized_ = resize.get();
    Answer answer = wait_for(*running);
    behind_ = wait_for(*waiting);
    engine_.on_decode = nullptr;
    EXPECT_GT(held_bytes_, prompt_.size());
    EXPECT_LT(held_bytes_, prompt_.size() + 20);
    return answer;
  }
  // Without anything computed twice.
  size_t tokens_needed() const { return prompt_.size() + kAnswer.size() + kOther.size(); }

  const std::string kAnswer = std::string(100, 'x') + "y", kOther = "other<assistant>";
  const std::string prompt_ = std::string(140, 'q') + "<assistant>";
  std::optional<Status> refusal_;
  size_t held_bytes_ = 0;  // when the context was made anew
  Result<void> resized_;
  Answer behind_;
};

TEST_F(InterruptedAnswer, GoesOnInTheNewContext) {
  const Answer answer = answer_while_resizing();
  EXPECT_TRUE(resized_);
  EXPECT_EQ(answer.text, kAnswer);
  EXPECT_EQ(engine_.n_computed, tokens_needed() + held_bytes_);
  EXPECT_EQ(behind_.text, "x");
  EXPECT_EQ(scheduler().n_ctx(), 2000u);
}

TEST_F(InterruptedAnswer, IsComputedOnceWhereItsStateCanBeKept) {
  cache_ = PromptCache::open({.model_key = "m", .memory_bytes_max = 10000, .folder = {}});
  options_.prompt_cache = cache_.get();
  EXPECT_EQ(answer_while_resizing().text, kAnswer);
  EXPECT_EQ(engine_.n_computed, tokens_needed());
}

TEST_F(InterruptedAnswer, IsComputedAgainWhereTheNewContextComputesInAnotherWay) {
  engine_.long_above = 1500;
  cache_ = PromptCache::open({.model_key = "m", .memory_bytes_max = 10000, .folder = {}});
  options_.prompt_cache = cache_.get();
  EXPECT_EQ(answer_while_resizing().text, kAnswer);
  EXPECT_EQ(engine_.n_computed, tokens_needed() + held_bytes_);
}

TEST_F(InterruptedAnswer, GoesOnWhereTheNewContextHasNoRoom) {
  refusal_ = Status(Code::kOutOfBudget, "no room for a context of 2000 tokens");
  const Answer answer = answer_while_resizing();
  EXPECT_FALSE(resized_);
  EXPECT_EQ(answer.text, kAnswer);
  EXPECT_EQ(behind_.text, "x");
  EXPECT_EQ(scheduler().n_ctx(), 1000u);
}

TEST_F(InterruptedAnswer, FailsWhereNoContextIsLeft) {
  refusal_ = Status(Code::kUnavailable, "there was no memory left for a context");
  const Answer answer = answer_while_resizing();
  ASSERT_TRUE(answer.outcome.failure && behind_.outcome.failure);
  EXPECT_EQ(answer.outcome.failure->code(), Code::kUnavailable);
  EXPECT_EQ(behind_.outcome.failure->code(), Code::kUnavailable);
  EXPECT_TRUE(scheduler().idle());
}

// Random requests, lengths, shifts, cancellations and failures against the plain model, on engines of all kinds.
TEST_F(SchedulerTest, RandomOperationsGiveWhatThePlainModelGives) {
  const TempFolder folder;
  for (const uint32_t seed : {1u, 2u, 3u, 4u}) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    ScriptedEngine engine;
    engine.keep_passes = false;
    engine.become(static_cast<ScriptedEngine::Kind>(seed % 4), 10 + seed * 5);
    engine.info.n_ctx = 600;
    engine.pass_max = 40 + seed * 17;
    std::mutex mutex;
    engine.on_decode = [&, failing = std::mt19937(seed)](std::span<const BatchToken>) mutable -> Result<void> {
      if (failing() % 50 == 0) return error(Code::kCancelled, "stopped");
      return {};
    };
    const auto cache = PromptCache::open({.model_key = std::to_string(seed),
                                          .memory_bytes_max = 6000,
                                          .folder = folder.path(),
                                          .disk_bytes_max = 9000,
                                          .disk_tokens_min = 20});
    const auto scheduler = Scheduler::start(engine, {.n_sequences = 3, .queue_max = 100, .prompt_cache = cache.get()});
    const std::vector<std::string> beginnings = {"", std::string(160, 'p'),
                                                 std::string(160, 'p') + std::string(160, 'q'), std::string(350, 'r')};
    struct Asked {
      std::string prompt;
      int64_t n = 0;
      size_t n_ctx = 0;
      bool cancelled = false;
      std::shared_ptr<Ticket> ticket;
    };
    std::vector<Asked> asked;
    for (int i = 0; i < 150; ++i) {
      Asked a;
      a.prompt = beginnings[random() % beginnings.size()] +
                 std::string(1 + random() % 40, static_cast<char>('A' + random() % 3));
      a.n = static_cast<int64_t>(random() % 30);
      a.n_ctx = random() % 4 == 0 ? a.prompt.size() + 2 + random() % 10 : 600;
      GenerateRequest request = ask(a.prompt, a.n);
      request.n_ctx = a.n_ctx;
      request.shift = true;
      request.n_keep = 4;
      request.client = std::to_string(random() % 3);
      auto ticket = scheduler->submit(request);
      if (!ticket) {
        EXPECT_EQ(ticket.error().code(), Code::kBusy);
        continue;
      }
      a.ticket = *ticket;
      if (random() % 10 == 0) {
        scheduler->cancel(*a.ticket);
        a.cancelled = true;
      }
      asked.push_back(std::move(a));
      if (random() % 8 == 0) wait_for(*std::exchange(asked.back().ticket, nullptr)), asked.pop_back();
    }
    for (const Asked& a : asked) {
      const Answer got = wait_for(*a.ticket);
      if (a.cancelled) continue;
      EXPECT_FALSE(got.outcome.failure);
      EXPECT_EQ(got.text, shifted_answer(a.prompt, a.n_ctx, 4, static_cast<size_t>(a.n))) << a.prompt;
    }
    EXPECT_TRUE(scheduler->idle());
  }
}

}  // namespace
}  // namespace spillway
