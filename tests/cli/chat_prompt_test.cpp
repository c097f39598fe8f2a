// SPDX-License-Identifier: MIT
#include "cli/chat_prompt.h"

#include <gmock/gmock.h>

#include "base/notice.h"
#include "fake_engine.h"

namespace spillway {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

const std::vector<Message> kHi = {{.role = "user", .content = "hi"}};

class ChatPromptTest : public testing::Test {
 protected:
  ChatPromptTest() {
    set_notice_sink([this](const std::string& sentence) { notices_.push_back(sentence); });
  }
  ~ChatPromptTest() override { set_notice_sink(nullptr); }

  std::string format() {
    const auto prompt = ChatPrompt::open(engine_);
    const auto text = prompt ? prompt->format(kHi) : tl::unexpected<Status>(prompt.error());
    return text ? *text : "failed: " + text.error().message();
  }

  FakeEngine engine_;
  std::vector<std::string> notices_;
};

TEST_F(ChatPromptTest, TheModelsOwnTemplateComesFirst) {
  engine_.info.chat_template =
      "{{ bos_token }}{% for m in messages %}({{ m.role }}){{ m.content }}{% endfor %}{{ eos_token }}";
  engine_.info.bos_token = "<s>";
  engine_.info.eos_token = "</s>";
  EXPECT_EQ(format(), "<s>(user)hi</s>");
}

TEST_F(ChatPromptTest, ATokenThatTheTokenizerAddsIsNotWrittenTwice) {
  engine_.info.chat_template = "{{ bos_token }}{{ messages[0].content }}";
  engine_.info.bos_token = "<s>";
  engine_.info.adds_bos = true;
  EXPECT_EQ(format(), "hi");
}

TEST_F(ChatPromptTest, WithoutATemplateATextIsGoneOnWithAndAChatHasPlainTurns) {
  engine_.info.chat_template.clear();
  EXPECT_EQ(format(), "User: hi\n\nAssistant:");
  EXPECT_TRUE(ChatPrompt::open(engine_)->completes());
  EXPECT_THAT(ChatPrompt::open(engine_)->for_answers({}).stop, Contains("\nUser:"));
  EXPECT_THAT(notices_, ElementsAre());
}

TEST_F(ChatPromptTest, ATemplateThatCannotBeReadIsReplacedAndThatIsSaid) {
  engine_.info.chat_template = "{% if %}";
  EXPECT_EQ(format(), "User: hi\n\nAssistant:");
  EXPECT_THAT(notices_, ElementsAre(AllOf(HasSubstr("its file's chat template cannot be used"),
                                          HasSubstr("it chats as plain \"User:\""))));
}

TEST_F(ChatPromptTest, AGoTemplateOfAModelfileIsRendered) {
  const auto prompt = ChatPrompt::open(engine_, "{{ if .System }}<s>{{ .System }}{{ end }}<u>{{ .Prompt }}<a>");
  ASSERT_TRUE(prompt) << prompt.error().message();
  EXPECT_EQ(*prompt->format(kHi), "<u>hi<a>");
  EXPECT_FALSE(prompt->completes());
}

TEST_F(ChatPromptTest, ARefusalIsPassedOn) {
  engine_.info.chat_template = "{{ raise_exception('not like this') }}";
  EXPECT_EQ(format(), "failed: not like this");
}

}  // namespace
}  // namespace spillway
