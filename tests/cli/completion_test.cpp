// SPDX-License-Identifier: MIT
#include "cli/completion.h"

#include <gmock/gmock.h>

namespace spillway {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string script(Shell shell) {
  CLI::App app("", "spillway");
  CLI::App* verb = app.add_subcommand("run", "Answer [a] prompt");
  static std::string text, hidden;
  verb->add_option("MODEL", text, "");
  verb->add_option("-f,--file", text, "the user's file")->type_name("FILE");
  verb->add_option("--mode", text, "")->type_name("auto|mmap");
  verb->add_flag("--json");
  verb->add_option("--secret", hidden, "")->group("");
  return completion_script(app, shell);
}

TEST(Completion, EveryShellKnowsVerbsOptionsChoicesAndModels) {
  for (const Shell shell : {Shell::kBash, Shell::kZsh, Shell::kFish}) {
    const std::string text = script(shell);
    EXPECT_THAT(text, HasSubstr("run"));
    EXPECT_THAT(text, HasSubstr("json"));
    EXPECT_THAT(text, HasSubstr("auto mmap"));
    EXPECT_THAT(text, HasSubstr(".gguf"));
  }
}

TEST(Completion, ModelsAreOfferedByNameToo) {
  for (const Shell shell : {Shell::kBash, Shell::kZsh, Shell::kFish})
    EXPECT_THAT(script(shell), HasSubstr("spillway list --names"));
}

TEST(Completion, HiddenOptionsStayHidden) {
  for (const Shell shell : {Shell::kBash, Shell::kZsh, Shell::kFish})
    EXPECT_THAT(script(shell), Not(HasSubstr("secret")));
}

TEST(Completion, DescriptionsCanNotBreakTheQuoting) {
  EXPECT_THAT(script(Shell::kZsh), Not(HasSubstr("user's")));
  EXPECT_THAT(script(Shell::kZsh), HasSubstr("Answer (a) prompt"));
  EXPECT_THAT(script(Shell::kFish), Not(HasSubstr("user's")));
}

}  // namespace
}  // namespace spillway
