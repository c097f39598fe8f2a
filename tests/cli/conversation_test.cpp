// SPDX-License-Identifier: MIT
#include "cli/conversation.h"

#include <gmock/gmock.h>

#include "fake_engine.h"

namespace spillway {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class ConversationTest : public testing::Test {
 protected:
  void start(GenerationOptions options = {}, const std::string& system = "") {
    prompt_.emplace(ChatPrompt::open(engine_).value());
    generator_ = std::make_unique<Generator>(engine_, prompt_->for_answers(std::move(options)));
    conversation_ =
        std::make_unique<Conversation>(engine_, *generator_, *prompt_, ConversationOptions{.system = system},
                                       [this](const std::string& note) { notes_.push_back(note); });
  }

  // The answer, and in prompt_tokens_ what had to be computed for it.
  std::string say(const std::string& message, const std::string& scripted_answer) {
    engine_.script = scripted_answer;
    const auto answer = conversation_->say(message, {});
    if (!answer) return "failed: " + answer.error().message();
    prompt_tokens_ = answer->measured.prompt_tokens;
    return answer->text;
  }

  FakeEngine engine_;
  std::optional<ChatPrompt> prompt_;
  std::unique_ptr<Generator> generator_;
  std::unique_ptr<Conversation> conversation_;
  std::vector<std::string> notes_;
  size_t prompt_tokens_ = 0;
};

TEST_F(ConversationTest, TheSecondTurnComputesOnlyWhatIsNew) {
  start({}, "be brief");
  EXPECT_EQ(say("hi", "hello|"), "hello");
  EXPECT_EQ(say("how?", "fine|"), "fine");
  EXPECT_EQ(engine_.context, "<system>be brief</><user>hi</><assistant>hello</><user>how?</><assistant>fine");
  EXPECT_EQ(prompt_tokens_, std::string("</><user>how?</><assistant>").size());
  EXPECT_THAT(notes_, IsEmpty());
}

TEST_F(ConversationTest, AnAnswerThatWasCutShortIsFollowedByTheNextTurn) {
  start({.max_tokens = 3});
  say("hi", "hello");
  say("more", "x|");
  EXPECT_EQ(engine_.context, "<user>hi</><assistant>hel</><user>more</><assistant>x");
}

TEST_F(ConversationTest, AStopStringIsNotPartOfWhatWasSaid) {
  start({.stop = {"User:"}});
  EXPECT_EQ(say("hi", "hello User: fake"), "hello ");
  say("more", "x|");
  EXPECT_EQ(engine_.context, "<user>hi</><assistant>hello </><user>more</><assistant>x");
}

TEST_F(ConversationTest, WhatARecurrentModelCanNotForgetStaysSaid) {
  engine_.become(ScriptedEngine::Kind::kHybrid);
  start({.stop = {"END"}});
  EXPECT_EQ(say("hi", "helloEND"), "hello");
  say("more", "x|");
  EXPECT_EQ(engine_.context, "<user>hi</><assistant>helloEND</><user>more</><assistant>x");
  EXPECT_THAT(notes_, IsEmpty());
}

TEST_F(ConversationTest, ATemplateThatTrimsAnswersIsStillAContinuation) {
  engine_.info.chat_template =
      "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}</>{% endfor %}"
      "{% if add_generation_prompt %}<assistant>{% endif %}";
  start();
  say("hi", " hello  |");
  say("more", "x|");
  EXPECT_EQ(engine_.context, "<user>hi</><assistant> hello  </><user>more</><assistant>x");
  EXPECT_THAT(notes_, IsEmpty());
}

TEST_F(ConversationTest, AFullContextKeepsTheSystemMessageAndTheLastTurns) {
  engine_.info.n_ctx = 180;
  start({}, "sys");
  const std::string filler(20, 'x');
  for (int turn = 0; turn < 3; ++turn)
    EXPECT_EQ(say(filler, "answer" + std::to_string(turn) + "|"), "answer" + std::to_string(turn));
  EXPECT_EQ(say("last", "yes|"), "yes");
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("the context of 180 tokens is full; it goes on with the last 3 messages")));
  EXPECT_TRUE(engine_.context.starts_with("<system>sys</><user>xxx")) << engine_.context;
  EXPECT_TRUE(engine_.context.ends_with("<user>last</><assistant>yes")) << engine_.context;
}

TEST_F(ConversationTest, AMessageBeyondTheContextIsRefusedAndForgotten) {
  engine_.info.n_ctx = 100;
  start();
  EXPECT_EQ(say("hi", "hello|"), "hello");
  EXPECT_THAT(say(std::string(200, 'x'), "no|"), HasSubstr("and the context holds 100"));
  EXPECT_THAT(notes_, IsEmpty());
  EXPECT_EQ(say("again", "yes|"), "yes");
  EXPECT_EQ(prompt_tokens_, std::string("</><user>again</><assistant>").size());
  EXPECT_EQ(engine_.context, "<user>hi</><assistant>hello</><user>again</><assistant>yes");
}

TEST_F(ConversationTest, BehindAFailureTheNextTurnBeginsAnew) {
  start();
  say("hi", "hello|");
  engine_.failures.push_back({Code::kIo, "disk"});
  EXPECT_EQ(say("more", "x|"), "failed: disk");
  EXPECT_EQ(say("again", "yes|"), "yes");
  EXPECT_EQ(engine_.context, "<user>hi</><assistant>hello</><user>again</><assistant>yes");
}

TEST_F(ConversationTest, AnInterruptedPromptKeepsWhatWasComputedBefore) {
  start();
  say("hi", "hello|");
  engine_.failures.push_back({Code::kCancelled, "stopped"});
  EXPECT_EQ(say("more", "x|"), "failed: stopped");
  say("again", "yes|");
  EXPECT_EQ(prompt_tokens_, std::string("</><user>again</><assistant>").size());
  EXPECT_EQ(engine_.context, "<user>hi</><assistant>hello</><user>again</><assistant>yes");
}

TEST_F(ConversationTest, ARecurrentModelThatLostItsContextReadsTheHistoryAgain) {
  engine_.become(ScriptedEngine::Kind::kHybrid);
  start();
  say("hi", "hello|");
  engine_.on_decode = [this](auto) -> Result<void> {
    if (engine_.batches.size() >= 8) return error(Code::kCancelled, "stopped");
    return {};
  };
  EXPECT_EQ(say("more", "abcdef"), "ab");
  EXPECT_EQ(engine_.context, "");
  engine_.on_decode = nullptr;
  engine_.failures.clear();
  EXPECT_EQ(say("again", "yes|"), "yes");
  EXPECT_EQ(engine_.context, "<user>hi</><assistant>hello</><user>more</><assistant>ab</><user>again</><assistant>yes");
}

TEST_F(ConversationTest, AModelWithoutATemplateSpeaksInPlainTurnsAndEndsWhereTheNextBegins) {
  engine_.info.chat_template.clear();
  start({}, "Be brief.");
  EXPECT_EQ(say("hi", " hello\n\nUser: and you?"), "hello");
  EXPECT_EQ(say("how?", " fine\nUser:"), "fine");
  EXPECT_EQ(engine_.context, "Be brief.\n\nUser: hi\n\nAssistant: hello\n\nUser: how?\n\nAssistant: fine");
  EXPECT_EQ(prompt_tokens_, std::string("\n\nUser: how?\n\nAssistant:").size());
  EXPECT_THAT(notes_, IsEmpty());
}

TEST_F(ConversationTest, ClearingKeepsTheSystemMessage) {
  start({}, "sys");
  say("hi", "hello|");
  conversation_->clear();
  say("again", "yes|");
  EXPECT_EQ(engine_.context, "<system>sys</><user>again</><assistant>yes");
  conversation_->set_system("other");
  say("third", "ok|");
  EXPECT_EQ(engine_.context, "<system>other</><user>third</><assistant>ok");
}

}  // namespace
}  // namespace spillway
