// SPDX-License-Identifier: MIT
// spillway manual: prints a manual page.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <memory>

#include "cli/answer_printer.h"
#include "cli/commands.h"
#include "cli/manual.h"

namespace spillway {
namespace {

constexpr const char* kManualExamples = R"(Examples:
  spillway manual | man -l -                             of the program
  spillway manual serve | man -l -                       of a verb
  spillway manual run > ~/.local/share/man/man1/spillway-run.1)";

struct ManualOptions {
  std::string verb;
  bool is_list = false;
};

Result<std::string> page_of(const CLI::App& app, const ManualOptions& options) {
  const std::vector<std::string> verbs = manual_verbs(app);
  if (options.is_list) return fmt::format("{}", fmt::join(verbs, "\n"));
  if (options.verb.empty()) return manual_page(app, SPILLWAY_VERSION);
  if (std::find(verbs.begin(), verbs.end(), options.verb) == verbs.end())
    return error(Code::kInvalidArgument, fmt::format("'{}' is none of the verbs (see spillway --help)", options.verb));
  return manual_page(app, options.verb, SPILLWAY_VERSION);
}

}  // namespace

void add_manual_command(CLI::App& app, Action& action) {
  CLI::App* verb = app.add_subcommand("manual", "Print a manual page, for man(1)");
  const auto options = std::make_shared<ManualOptions>();
  verb->add_option("VERB", options->verb, "Verb whose page is wanted [the program's]");
  verb->add_flag("--list", options->is_list, "Names of the verbs that have a page, one a line");
  verb->footer(kManualExamples);
  verb->callback([&app, &action, options] {
    action = [&app, options]() -> Result<int> {
      ASSIGN_OR_RETURN(const std::string page, page_of(app, *options));
      return print_and_end(page);
    };
  });
}

}  // namespace spillway
