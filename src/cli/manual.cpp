// SPDX-License-Identifier: MIT
#include "cli/manual.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>
#include <sstream>
#include <string_view>

#include "base/check.h"

namespace spillway {
namespace {

// Text as roff takes it: backslashes and hyphens mean something, and a dot or quote at the start of a line is a
// command.
std::string roff(std::string_view text) {
  std::string out;
  bool is_line_start = true;
  for (const char c : text) {
    if (is_line_start && (c == '.' || c == '\'')) out += "\\&";
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else if (c == '`') {
      out += "\\(ga";
    } else if (c == '^') {
      out += "\\(ha";
    } else if (c == '~') {
      out += "\\(ti";
    } else {
      out += c;
    }
    is_line_start = c == '\n';
  }
  return out;
}

std::string heading(const std::string& title, const std::string& version, const std::string& description) {
  std::string upper = title;
  for (char& c : upper)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return fmt::format(".TH \"{}\" 1 \"\" \"spillway {}\" \"User Commands\"\n.SH NAME\n{} \\- {}\n", roff(upper),
                     roff(version), roff(title), roff(description));
}

std::string section(const std::string& title, const std::string& text) {
  return fmt::format(".SH {}\n{}", title, text);
}

std::string option_entry(const CLI::Option& option) {
  std::vector<std::string> names;
  for (const std::string& name : option.get_snames()) names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) names.push_back("--" + name);
  std::string head;
  for (const std::string& name : names) head += fmt::format("{}\\fB{}\\fR", head.empty() ? "" : ", ", roff(name));
  if (option.get_items_expected_max() > 0) {
    head += fmt::format(" \\fI{}\\fR", roff(option.get_type_name()));
    if (!option.get_default_str().empty()) head += fmt::format(" (default {})", roff(option.get_default_str()));
  }
  return fmt::format(".TP\n{}\n{}\n", head, roff(option.get_description()));
}

// Options by group, in the order in which they were declared.
std::string options_of(const CLI::App& app) {
  std::vector<std::string> groups;
  std::map<std::string, std::string> entries;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional() || option->get_group().empty()) continue;
    if (!entries.contains(option->get_group())) groups.push_back(option->get_group());
    entries[option->get_group()] += option_entry(*option);
  }
  std::string text;
  for (const std::string& group : groups) text += fmt::format(".SS {}\n{}", roff(group), entries[group]);
  return text;
}

std::string positionals_of(const CLI::App& app) {
  std::string text;
  for (const CLI::Option* option : app.get_options())
    if (option->get_positional() && !option->get_group().empty())
      text += fmt::format(".TP\n\\fI{}\\fR\n{}\n", roff(option->get_name(true)), roff(option->get_description()));
  return text;
}

std::string synopsis_of(const CLI::App& verb) {
  std::string text = fmt::format("\\fBspillway {}\\fR [\\fIOPTIONS\\fR]", roff(verb.get_name()));
  for (const CLI::Option* option : verb.get_options()) {
    if (!option->get_positional() || option->get_group().empty()) continue;
    const std::string name =
        fmt::format("\\fI{}\\fR{}", roff(option->get_name(true)), option->get_items_expected_max() > 1 ? " ..." : "");
    text += option->get_required() ? " " + name : fmt::format(" [{}]", name);
  }
  return text + "\n";
}

// A verb's footer begins with "Examples:", and what follows is laid out.
std::string examples_of(const CLI::App& app) {
  std::string text = app.get_footer();
  constexpr std::string_view kTitle = "Examples:\n";
  if (!text.starts_with(kTitle)) return text.empty() ? "" : section("NOTES", roff(text) + "\n");
  return section("EXAMPLES", fmt::format(".nf\n{}\n.fi\n", roff(text.substr(kTitle.size()))));
}

constexpr const char* kExitStatus =
    ".TP\n0\nIt did what was asked.\n.TP\n1\nIt could not; one line on standard error says why.\n.TP\n2\n"
    "A mistake on the command line.\n.TP\n130\nInterrupted.\n";

std::string see_also(const CLI::App& app, const std::string& but) {
  std::vector<std::string> pages;
  if (!but.empty()) pages.emplace_back("\\fBspillway\\fR(1)");
  for (const std::string& verb : manual_verbs(app))
    if (verb != but) pages.push_back(fmt::format("\\fBspillway\\-{}\\fR(1)", roff(verb)));
  return section("SEE ALSO", fmt::format("{}\n", fmt::join(pages, ",\n")));
}

}  // namespace

std::vector<std::string> manual_verbs(const CLI::App& app) {
  std::vector<std::string> verbs;
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; }))
    verbs.push_back(verb->get_name());
  return verbs;
}

std::string manual_page(const CLI::App& app, const std::string& version) {
  std::string verbs;
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; }))
    verbs += fmt::format(".TP\n\\fB{}\\fR\n{}; see \\fBspillway\\-{}\\fR(1).\n", roff(verb->get_name()),
                         roff(verb->get_description()), roff(verb->get_name()));
  return heading("spillway", version, app.get_description()) +
         section("SYNOPSIS", "\\fBspillway\\fR \\fIVERB\\fR [\\fIOPTIONS\\fR] [\\fIARGUMENTS\\fR]\n") +
         section("VERBS", verbs) + section("OPTIONS", options_of(app)) + examples_of(app) +
         section("EXIT STATUS", kExitStatus) + see_also(app, "");
}

std::string manual_page(const CLI::App& app, const std::string& verb, const std::string& version) {
  const auto named = app.get_subcommands([&](const CLI::App* candidate) { return candidate->get_name() == verb; });
  CHECK(named.size() == 1);
  const CLI::App* described = named.front();
  const std::string positionals = positionals_of(*described);
  return heading("spillway-" + verb, version, described->get_description()) +
         section("SYNOPSIS", synopsis_of(*described)) + (positionals.empty() ? "" : section("ARGUMENTS", positionals)) +
         section("OPTIONS", options_of(*described)) + examples_of(*described) + section("EXIT STATUS", kExitStatus) +
         see_also(app, verb);
}

}  // namespace spillway
