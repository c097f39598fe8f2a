// SPDX-License-Identifier: MIT
#include "cli/run/conversation.h"

#include <gmock/gmock.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "base/notice.h"
#include "fake_engine.h"

namespace spillway {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class ConversationTest : public testing::Test {
 protected:
  ConversationTest() {
    set_notice_sink([this](const std::string& sentence) { notices_.push_back(sentence); });
  }
  ~ConversationTest() override { set_notice_sink(nullptr); }

  void start() {
    model_ = model_of_run(std::move(owned_), options_, true);
    conversation_ =
        std::make_unique<Conversation>(*model_, options_, [this](const std::string& note) { notes_.push_back(note); });
  }

  // The answer; in last_ what else is told of it.
  std::string say(const std::string& message, const std::string& scripted_answer, const ConversationHooks& hooks = {}) {
    engine_.script = scripted_answer;
    auto answer = conversation_->say({.role = "user", .content = message}, hooks);
    if (!answer) return "failed: " + answer.error().message();
    last_ = *std::move(answer);
    return last_.text;
  }

  std::unique_ptr<FakeEngine> owned_ = std::make_unique<FakeEngine>();
  FakeEngine& engine_ = *owned_;
  RunOptions options_;
  std::unique_ptr<LoadedModel> model_;
  std::unique_ptr<Conversation> conversation_;
  Generation last_;
  std::vector<std::string> notes_, notices_;
};

TEST_F(ConversationTest, WhatWasSaidIsPartOfTheNextPrompt) {
  options_.system = "be brief";
  options_.examples = {{.role = "user", .content = "a"}, {.role = "assistant", .content = "b"}};
  start();
  EXPECT_EQ(say("hi", "hello|"), "hello");
  EXPECT_EQ(last_.stop_reason, StopReason::kEnd);
  EXPECT_EQ(say("how?", "fine|"), "fine");
  EXPECT_EQ(engine_.context,
            "<system>be brief</><user>a</><assistant>b</><user>hi</><assistant>hello</><user>how?</><assistant>fine");
  EXPECT_THAT(notes_, IsEmpty());
}

TEST_F(ConversationTest, AnAnswerThatWasCutShortIsFollowedByTheNextTurn) {
  options_.generation.max_tokens = 3;
  start();
  EXPECT_EQ(say("hi", "hello"), "hel");
  EXPECT_EQ(last_.stop_reason, StopReason::kMaxTokens);
  EXPECT_EQ(last_.measured.decode_tokens, 2u);
  say("more", "x|");
  EXPECT_EQ(engine_.context, "<user>hi</><assistant>hel</><user>more</><assistant>x");
}

TEST_F(ConversationTest, AStopStringIsNotPartOfWhatWasSaid) {
  options_.generation.stop = {"User:"};
  start();
  EXPECT_EQ(say("hi", "hello User: fake"), "hello ");
  EXPECT_EQ(last_.stop_reason, StopReason::kStopString);
  say("more", "x|");
  EXPECT_EQ(engine_.context, "<user>hi</><assistant>hello </><user>more</><assistant>x");
}

TEST_F(ConversationTest, ThoughtsAreToldApartAndLeftToTheTemplate) {
  engine_.info.chat_template =
      "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' and '</think>' in m.content %}"
      "{{ m.content.split('</think>')[-1] }}{% else %}{{ m.content }}{% endif %}</>{% endfor %}"
      "{% if add_generation_prompt %}<assistant>{% if enable_thinking is defined and not enable_thinking %}"
      "<think>\n\n</think>\n\n{% endif %}{% endif %}";
  start();
  std::string thought, shown;
  EXPECT_EQ(say("hi", "<think>\nhm\n</think>\n\nhello|",
                {.on_part =
                     [&](const AnswerPart& part) {
                       thought += part.thinking;
                       shown += part.content;
                       return true;
                     }}),
            "hello");
  EXPECT_THAT(thought, HasSubstr("hm"));
  EXPECT_EQ(shown, "hello");
  EXPECT_EQ(last_.thinking, thought);
  conversation_->set_thinking({.think = false});
  EXPECT_EQ(say("more", "x|"), "x");
  EXPECT_EQ(engine_.context, "<user>hi</><assistant>hello</><user>more</><assistant><think>\n\n</think>\n\nx");
}

TEST_F(ConversationTest, AFullContextLeavesTheOldestMessagesOutAndSaysSoOnce) {
  engine_.info.n_ctx = 180;
  options_.system = "sys";
  start();
  const std::string filler(20, 'x');
  for (int turn = 0; turn < 3; ++turn)
    EXPECT_EQ(say(filler, "answer" + std::to_string(turn) + "|"), "answer" + std::to_string(turn));
  EXPECT_EQ(say("last", "yes|"), "yes");
  EXPECT_EQ(say("really", "yes|"), "yes");
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("the context of 180 tokens is full; the oldest messages are left out")));
  EXPECT_TRUE(engine_.context.starts_with("<system>sys</><user>xxx")) << engine_.context;
  EXPECT_TRUE(engine_.context.ends_with("<user>really</><assistant>yes")) << engine_.context;
}

TEST_F(ConversationTest, AMessageBeyondTheContextIsRefusedAndForgotten) {
  engine_.info.n_ctx = 100;
  start();
  EXPECT_EQ(say("hi", "hello|"), "hello");
  EXPECT_THAT(say(std::string(200, 'x'), "no|"), AllOf(HasSubstr("(100 tokens)"), HasSubstr("raise --context")));
  EXPECT_EQ(say("again", "yes|"), "yes");
  EXPECT_EQ(engine_.context, "<user>hi</><assistant>hello</><user>again</><assistant>yes");
}

TEST_F(ConversationTest, BehindAFailureTheMessageIsForgotten) {
  start();
  say("hi", "hello|");
  engine_.failures.push_back({Code::kIo, "disk"});
  EXPECT_THAT(say("more", "x|"), HasSubstr("disk"));
  EXPECT_EQ(say("again", "yes|"), "yes");
  EXPECT_EQ(engine_.context, "<user>hi</><assistant>hello</><user>again</><assistant>yes");
}

// A pass that waits until it was broken off.
class InterruptTest : public ConversationTest {
 protected:
  // From the `n`th pass on, and once the text of those before was shown if `shown` is set.
  ConversationHooks interrupt_at(size_t n, bool shown) {
    waits_ = true;
    n_asked_ = 0;
    was_shown_ = !shown;
    engine_.batches.clear();
    engine_.on_decode = [this, n](auto) -> Result<void> {
      if (engine_.batches.size() + 1 < n) return {};
      while (waits_) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      return error(Code::kCancelled, "stopped");
    };
    return {.on_part =
                [this, n, text = std::string()](const AnswerPart& part) mutable {
                  text += part.content;  // a token of the script is a character
                  was_shown_ = text.size() + 1 >= n;
                  return true;
                },
            .is_interrupted =
                [this] {
                  // Asked again, it was broken off.
                  if (was_shown_ && ++n_asked_ == 2) waits_ = false;
                  return was_shown_;
                }};
  }

  std::atomic<bool> waits_ = true;
  int n_asked_ = 0;
  bool was_shown_ = false;
};

TEST_F(InterruptTest, KeepsWhatWasSaidOfAnAnswer) {
  start();
  EXPECT_EQ(say("hi", "abcdefgh", interrupt_at(3, true)), "ab");
  EXPECT_EQ(last_.stop_reason, StopReason::kInterrupted);
  engine_.on_decode = nullptr;
  EXPECT_EQ(say("again", "yes|"), "yes");
  EXPECT_EQ(engine_.context, "<user>hi</><assistant>ab</><user>again</><assistant>yes");
}

TEST_F(InterruptTest, ForgetsAMessageWithoutAnAnswer) {
  start();
  say("hi", "hello|");
  EXPECT_THAT(say("never", "x|", interrupt_at(1, false)), HasSubstr("failed"));
  engine_.on_decode = nullptr;
  EXPECT_EQ(say("again", "yes|"), "yes");
  EXPECT_EQ(engine_.context, "<user>hi</><assistant>hello</><user>again</><assistant>yes");
}

TEST_F(ConversationTest, AModelWithoutATemplateSpeaksInPlainTurnsAndEndsWhereTheNextBegins) {
  engine_.info.chat_template.clear();
  start();
  EXPECT_EQ(say("hi", " hello\n\nUser: fake"), "hello");
  say("more", " x|");
  EXPECT_EQ(engine_.context, "User: hi\n\nAssistant: hello\n\nUser: more\n\nAssistant: x");
}

TEST_F(ConversationTest, AnotherSystemMessageForgetsWhatWasSaid) {
  options_.system = "sys";
  start();
  say("hi", "hello|");
  conversation_->clear();
  say("again", "yes|");
  EXPECT_EQ(engine_.context, "<system>sys</><user>again</><assistant>yes");
  conversation_->set_system("new");
  say("again", "yes|");
  EXPECT_EQ(engine_.context, "<system>new</><user>again</><assistant>yes");
}

TEST_F(ConversationTest, ATemplateThatCannotBeReadIsReplacedAndThatIsSaid) {
  engine_.info.chat_template = "{% if %}";
  start();
  say("hi", " a|");
  EXPECT_EQ(engine_.context, "User: hi\n\nAssistant: a");
  EXPECT_THAT(notices_, ElementsAre(AllOf(HasSubstr("its file's chat template cannot be used"),
                                          HasSubstr("it chats as plain \"User:\""))));
}

TEST_F(ConversationTest, AGoTemplateOfAModelfileComesFirst) {
  options_.chat_template = "{{ if .System }}<s>{{ .System }}{{ end }}<u>{{ .Prompt }}<a>";
  start();
  say("hi", "x|");
  EXPECT_EQ(engine_.context, "<u>hi<a>x");
}

TEST_F(ConversationTest, WhatATemplateRefusesIsPassedOn) {
  engine_.info.chat_template = "{{ raise_exception('not like this') }}";
  start();
  EXPECT_THAT(say("hi", "x|"), HasSubstr("not like this"));
}

}  // namespace
}  // namespace spillway
