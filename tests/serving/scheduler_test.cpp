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
    News news = ticket.wait(std::chrono::seconds(60));
    answer.text += news.text;
    for (TokenScore& score : news.scores) answer.scores.push_back(std::move(score));
    if (!news.outcome) continue;
    answer.outcome = std::move(*news.outcome);
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
  SchedulerOptions options_{.n_slots = 3};
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

TEST_F(SchedulerTest, OneReadingOfTheWeightsServesAllSlots) {
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
  EXPECT_GE(together, 7u);
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
  // While both ran, every pass brought the answer one token further.
  for (size_t i = 1; i < 20; ++i) EXPECT_EQ(engine_.passes[i].front().seq, engine_.passes[0].front().seq) << i;
}

TEST_F(SchedulerTest, ATurnThatFollowsComputesOnlyWhatIsNew) {
  const Answer first = answer(ask("system prompt. question one", 10));
  const std::string history = "system prompt. question one" + first.text;
  const Answer second = answer(ask(history + " question two", 10));
  EXPECT_EQ(second.text, ScriptedEngine::continuation(history + " question two", 10));
  EXPECT_GE(second.outcome.cached_tokens, history.size() - 1);
}

TEST_F(SchedulerTest, ATailThatChangesKeepsWhatIsBeforeIt) {
  answer(ask("the preamble of an agent [volatile: 1]", 1));
  const Answer second = answer(ask("the preamble of an agent, a tool's result [volatile: 2]", 5));
  EXPECT_EQ(second.outcome.cached_tokens, std::string("the preamble of an agent").size());
  EXPECT_EQ(second.text, ScriptedEngine::continuation("the preamble of an agent, a tool's result [volatile: 2]", 5));
}

TEST_F(SchedulerTest, TheSamePromptAgainComputesItsLastToken) {
  answer(ask("once and again", 3));
  EXPECT_EQ(answer(ask("once and again", 3)).outcome.cached_tokens, 13u);
}

TEST_F(SchedulerTest, APrefixIsTakenFromASlotThatIsBusy) {
  const std::string preamble(80, 'p');
  engine_.answer = [](const std::string&) { return std::string(50, 'x'); };
  Turnstile turnstile(engine_);
  const auto first = *scheduler().submit(ask(preamble + "A<assistant>", 40));
  turnstile.wait_until_in_pass();
  turnstile.let_through(3);
  for (int i = 0; i < 3; ++i) turnstile.wait_until_in_pass();
  const auto second = *scheduler().submit(ask(preamble + "B<assistant>", 5));
  turnstile.open();
  EXPECT_EQ(wait_for(*second).outcome.cached_tokens, 80u);
  EXPECT_EQ(wait_for(*first).text, std::string(40, 'x'));
}

TEST_F(SchedulerTest, AConversationThatLostItsSlotComesBackFromThePromptCache) {
  cache_ = PromptCache::open({.model_key = "m", .memory_bytes_max = 10000, .folder = {}});
  options_ = {.n_slots = 1, .prompt_cache = cache_.get()};
  const std::string one = "conversation one, long enough to be kept: ", two = "something else that is as long as that ";
  answer(ask(one, 5));
  answer(ask(two, 5));
  const Answer back = answer(ask(one + "more", 5));
  EXPECT_GE(back.outcome.cached_tokens, one.size());
  EXPECT_EQ(back.text, ScriptedEngine::continuation(one + "more", 5));
}

TEST_F(SchedulerTest, APreambleSurvivesARestart) {
  const TempFolder folder;
  const PromptCacheOptions on_disk{
      .model_key = "m", .folder = folder.path(), .disk_bytes_max = 100000, .disk_tokens_min = 16};
  const std::string preamble = "ten thousand tokens of an agent's preamble ";
  {
    const auto cache = PromptCache::open(on_disk);
    options_.prompt_cache = cache.get();
    answer(ask(preamble + "one", 5));
    scheduler().save_slots();
    scheduler_.reset();
  }
  ScriptedEngine restarted;
  const auto cache = PromptCache::open(on_disk);
  const auto scheduler = Scheduler::start(restarted, {.n_slots = 2, .prompt_cache = cache.get()});
  const Answer second = wait_for(**scheduler->submit(ask(preamble + "two", 5)));
  EXPECT_EQ(second.outcome.cached_tokens, preamble.size());
  EXPECT_EQ(second.text, ScriptedEngine::continuation(preamble + "two", 5));
  EXPECT_LT(restarted.n_computed, 20u);
}

TEST_F(SchedulerTest, ARecurrentModelReusesWholePrefixesAlone) {
  engine_.info.can_trim = false;
  cache_ = PromptCache::open({.model_key = "m", .memory_bytes_max = 100000, .folder = {}});
  options_.prompt_cache = cache_.get();
  const std::string prompt(600, 'p');
  answer(ask(prompt, 1));  // checkpoints at 512 and 600 tokens
  const Answer same_beginning = answer(ask(prompt.substr(0, 550) + "other", 5));
  EXPECT_EQ(same_beginning.outcome.cached_tokens, 512u);
  EXPECT_EQ(same_beginning.text, ScriptedEngine::continuation(prompt.substr(0, 550) + "other", 5));
  EXPECT_EQ(answer(ask(prompt + "more", 5)).outcome.cached_tokens, 600u);
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

TEST_F(SchedulerTest, AShiftGoesOnBeyondTheContextAndIsNotReused) {
  engine_.answer = [](const std::string&) { return std::string(5000, 'x'); };
  engine_.info.n_ctx = 40;
  GenerateRequest request = ask("keep<assistant>", 100);
  request.shift = true;
  request.n_keep = 4;
  const Answer got = answer(request);
  EXPECT_EQ(got.outcome.reason, FinishReason::kMaxTokens);
  EXPECT_EQ(got.text.size(), 100u);
  EXPECT_EQ(answer(ask("keep<assistant>xx", 1)).outcome.cached_tokens, 4u) << "what was computed with a lost past";
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
  GenerateRequest broken = ask("a");
  broken.sampling.grammar = *Grammar::parse("root ::= \"impossible\"");
  EXPECT_EQ(answer(broken).outcome.failure->code(), Code::kInvalidArgument);
  EXPECT_EQ(answer(ask("b", 3)).text, ScriptedEngine::continuation("b", 3));
}

TEST_F(SchedulerTest, AFullQueueIsBusy) {
  options_ = {.n_slots = 1, .queue_max = 2};
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

TEST_F(SchedulerTest, WhoGoesAwayFreesItsSlot) {
  options_.n_slots = 1;
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

TEST_F(SchedulerTest, APassThatFailsCostsOnlyTheRequestWhoseFaultItIs) {
  for (const bool can_trim : {true, false}) {
    ScriptedEngine engine;
    engine.info.can_trim = can_trim;
    Turnstile turnstile(engine);
    const auto hold = engine.on_decode;
    engine.on_decode = [&](std::span<const BatchToken> tokens) -> Result<void> {
      RETURN_IF_ERROR(hold(tokens));
      for (const BatchToken& token : tokens)
        if (token.id == '!') return error(Code::kIo, "the disk is on fire");
      return {};
    };
    const auto scheduler = Scheduler::start(engine, {.n_slots = 3});
    const auto good = *scheduler->submit(ask("good one", 12));
    turnstile.wait_until_in_pass();
    const auto bad = *scheduler->submit(ask("bad one!", 12));
    const auto other = *scheduler->submit(ask("another", 12));
    turnstile.open();
    const Answer failed = wait_for(*bad);
    ASSERT_TRUE(failed.outcome.failure);
    EXPECT_EQ(failed.outcome.failure->message(), "the disk is on fire");
    EXPECT_EQ(wait_for(*good).text, ScriptedEngine::continuation("good one", 12)) << can_trim;
    EXPECT_EQ(wait_for(*other).text, ScriptedEngine::continuation("another", 12)) << can_trim;
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
  GenerateRequest request = ask("a prompt that is held", 1);
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
  options_.n_slots = 1;
  engine_.answer = [](const std::string&) { return std::string(900, 'x'); };
  const auto running = *scheduler().submit(ask("a<assistant>", 900)), waiting = *scheduler().submit(ask("b", 900));
  scheduler_.reset();
  EXPECT_EQ(wait_for(*waiting).outcome.failure->code(), Code::kCancelled);
  wait_for(*running);
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
    options_ = {.n_slots = 1, .resize_patience_s = 0};
    engine_.answer = [this](const std::string&) { return kAnswer; };
    engine_.on_resize = [this](uint32_t) -> Result<void> {
      held_bytes_ = engine_.context[0].size();
      if (!refusal_) return {};
      engine_.lost = refusal_->code() == Code::kUnavailable;
      return tl::unexpected<Status>(*refusal_);
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
  const std::string prompt_ = std::string(40, 'q') + "<assistant>";
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

// Random requests, lengths, cancellations and failures against the plain model, on engines that can and cannot be cut.
TEST_F(SchedulerTest, RandomOperationsGiveWhatThePlainModelGives) {
  const TempFolder folder;
  for (const uint32_t seed : {1u, 2u, 3u, 4u}) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    ScriptedEngine engine;
    engine.keep_passes = false;
    engine.info.can_trim = seed % 2 == 0;
    engine.info.n_ctx = 300;
    engine.pass_max = 5 + seed * 7;
    std::mutex mutex;
    engine.on_decode = [&, failing = std::mt19937(seed)](std::span<const BatchToken>) mutable -> Result<void> {
      if (failing() % 50 == 0) return error(Code::kCancelled, "stopped");
      return {};
    };
    const auto cache = PromptCache::open({.model_key = std::to_string(seed),
                                          .memory_bytes_max = 3000,
                                          .folder = folder.path(),
                                          .disk_bytes_max = 5000,
                                          .disk_tokens_min = 20});
    const auto scheduler = Scheduler::start(engine, {.n_slots = 3, .queue_max = 100, .prompt_cache = cache.get()});
    const std::vector<std::string> beginnings = {"", std::string(60, 'p'), std::string(60, 'p') + std::string(60, 'q'),
                                                 std::string(150, 'r')};
    struct Asked {
      std::string prompt;
      int64_t n = 0;
      bool cancelled = false;
      std::shared_ptr<Ticket> ticket;
    };
    std::vector<Asked> asked;
    for (int i = 0; i < 150; ++i) {
      Asked a;
      a.prompt = beginnings[random() % beginnings.size()] +
                 std::string(1 + random() % 40, static_cast<char>('A' + random() % 3));
      a.n = static_cast<int64_t>(random() % 30);
      GenerateRequest request = ask(a.prompt, a.n);
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
      EXPECT_EQ(got.text, ScriptedEngine::continuation(a.prompt, static_cast<size_t>(a.n))) << a.prompt;
    }
    EXPECT_TRUE(scheduler->idle());
  }
}

}  // namespace
}  // namespace spillway
