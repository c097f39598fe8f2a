// SPDX-License-Identifier: MIT
#include "chat/chat_form.h"

#include <gmock/gmock.h>

#include <set>

#include "chat/chat_families.h"

namespace spillway {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

const std::vector<Message> kTalk = {{.role = "system", .content = "<<S>>"},
                                    {.role = "user", .content = "<<A>>"},
                                    {.role = "assistant", .content = "<<B>>"},
                                    {.role = "user", .content = "<<C>>"}};

ChatForm form_of(const std::set<std::string_view>& vocabulary, const std::string& given = "",
                 const std::string& own = "") {
  return choose_chat_form({.given = given,
                           .own = own,
                           .has_token = [&](std::string_view token) { return vocabulary.contains(token); }})
      .value();
}

std::string prompt_of(const ChatForm& form) { return form.chat_template->render(kTalk, {}, {}).value().text; }

TEST(ChatForm, TheModelfilesTemplateComesBeforeTheFiles) {
  const std::string own = "{% for m in messages %}({{ m.content }}){% endfor %}";
  EXPECT_EQ(prompt_of(form_of({}, "", own)), "(<<S>>)(<<A>>)(<<B>>)(<<C>>)");
  const ChatForm form = form_of({}, "{{ range .Messages }}[{{ .Content }}]{{ end }}", own);
  EXPECT_EQ(prompt_of(form), "[<<S>>][<<A>>][<<B>>][<<C>>]");
  EXPECT_FALSE(form.completes);
  EXPECT_THAT(form.stop, IsEmpty());
  EXPECT_EQ(form.why, "by the template of its Modelfile");
}

TEST(ChatForm, ATemplateThatCannotBeReadMakesRoomForTheNext) {
  const ChatForm form = form_of({}, "{{ if }}", "{% for m in messages %}({{ m.content }}){% endfor %}");
  EXPECT_EQ(prompt_of(form), "(<<S>>)(<<A>>)(<<B>>)(<<C>>)");
  EXPECT_THAT(form.unusable, ElementsAre(HasSubstr("the template of its Modelfile cannot be used (")));
  const ChatForm none = form_of({"<|im_start|>", "<|im_end|>"}, "", "{% if %}");
  EXPECT_FALSE(none.completes) << "it was made for chats";
  EXPECT_EQ(none.why, "by the turns of ChatML: its template cannot be used, and its vocabulary has <|im_start|>");
}

TEST(ChatForm, TheVocabularyShowsTheFamily) {
  const ChatForm gemma = form_of({"<start_of_turn>", "<end_of_turn>"});
  EXPECT_EQ(prompt_of(gemma),
            "<start_of_turn>user\n<<S>>\n\n<<A>><end_of_turn>\n<start_of_turn>model\n<<B>><end_of_turn>\n"
            "<start_of_turn>user\n<<C>><end_of_turn>\n<start_of_turn>model\n");
  EXPECT_TRUE(gemma.completes);
  EXPECT_THAT(gemma.stop, Contains("<end_of_turn>"));
  EXPECT_EQ(gemma.why, "by the turns of Gemma: it has no template, and its vocabulary has <start_of_turn>");
  EXPECT_EQ(prompt_of(form_of({"[INST]", "[/INST]"})), "[INST] <<S>>\n\n<<A>>[/INST]<<B>></s>[INST] <<C>>[/INST]");
  EXPECT_THAT(prompt_of(form_of({"<|im_start|>"})), HasSubstr("Assistant:")) << "half of the marks";
}

TEST(ChatForm, EveryFamilyShowsAllThatIsSaidOnce) {
  for (const ChatFamily& family : chat_families()) {
    const ChatForm form = form_of({family.tokens.begin(), family.tokens.end()});
    EXPECT_THAT(form.why, HasSubstr(family.name));
    const std::string prompt = prompt_of(form);
    size_t at = 0;
    for (const char* said : {"<<S>>", "<<A>>", "<<B>>", "<<C>>"}) {
      at = prompt.find(said, at);
      EXPECT_NE(at, std::string::npos) << family.name << ": " << said << " in " << prompt;
      EXPECT_EQ(prompt.find(said, at + 1), std::string::npos) << family.name << " says it twice";
    }
    EXPECT_FALSE(form.chat_template->traits().tools) << family.name;
    EXPECT_THAT(form.stop, Not(IsEmpty()));
  }
}

TEST(ChatForm, WithoutMarksTheTurnsArePlainAndEndAnAnswer) {
  const ChatForm form = form_of({});
  EXPECT_TRUE(form.plain && form.completes);
  EXPECT_EQ(prompt_of(form), "<<S>>\n\nUser: <<A>>\n\nAssistant: <<B>>\n\nUser: <<C>>\n\nAssistant:");
  EXPECT_THAT(form.stop, AllOf(Contains("\n\nUser:"), Contains("\nUser:")));
  EXPECT_THAT(form.why, HasSubstr("it has no template, and its vocabulary no marks of turns"));
  const auto last = form.chat_template->render(
      std::vector<Message>{{.role = "user", .content = "<<A>>"}, {.role = "assistant", .content = "half"}}, {},
      {.continue_last_message = true});
  EXPECT_EQ(last->text, "User: <<A>>\n\nAssistant: half");
}

}  // namespace
}  // namespace spillway
