// SPDX-License-Identifier: MIT
// spillway completion: prints a shell's completion script.
#include <map>
#include <memory>

#include "cli/answer_printer.h"
#include "cli/commands.h"
#include "cli/completion.h"

namespace spillway {
namespace {

constexpr const char* kCompletionExamples = R"(Examples:
  spillway completion bash > ~/.local/share/bash-completion/completions/spillway
  spillway completion zsh  > ~/.zfunc/_spillway          (a folder in $fpath)
  spillway completion fish > ~/.config/fish/completions/spillway.fish)";

const std::map<std::string, Shell> kShells = {{"bash", Shell::kBash}, {"fish", Shell::kFish}, {"zsh", Shell::kZsh}};

}  // namespace

void add_completion_command(CLI::App& app, Action& action) {
  CLI::App* verb = app.add_subcommand("completion", "Print a completion script for a shell");
  const auto name = std::make_shared<std::string>();
  const auto check = [](const std::string& given) {
    return kShells.count(given) > 0 ? "" : "'" + given + "' is none of bash, zsh, fish";
  };
  verb->add_option("SHELL", *name, "bash, zsh or fish")->required()->check(check)->type_name("bash|zsh|fish");
  verb->footer(kCompletionExamples);
  verb->callback([&app, &action, name] {
    action = [&app, name]() -> Result<int> { return print_and_end(completion_script(app, kShells.at(*name))); };
  });
}

}  // namespace spillway
