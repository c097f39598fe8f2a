// SPDX-License-Identifier: MIT
#include "cli/completion.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cctype>
#include <sstream>
#include <vector>

namespace spillway {
namespace {

enum class Value { kNone, kWords, kFile, kOther };

struct OptionFacts {
  std::vector<std::string> names;  // "-p", "--prompt"
  std::string description;         // without what the shells' own syntax would trip over
  std::string value_name;          // "SIZE"
  Value value = Value::kNone;
  std::vector<std::string> words;  // the choices
  bool repeatable = false;
};

struct VerbFacts {
  std::string name, description;
  std::vector<OptionFacts> options;
  bool takes_model = false;        // a file or a name
  bool takes_name = false;         // a name alone
  std::vector<std::string> words;  // choices of its positional
};

std::vector<std::string> choices(const std::string& type_name) {
  std::vector<std::string> words;
  if (type_name.find('|') == std::string::npos || type_name.find("FILE") != std::string::npos) return words;
  std::istringstream stream(type_name);
  for (std::string word; std::getline(stream, word, '|');) words.push_back(word);
  return words;
}

// Quotes, brackets, colons and the like mean something in one shell or another.
std::string plain(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '[')
      out += '(';
    else if (c == ']')
      out += ')';
    else if (c == ':')
      out += ',';
    else if (c == '\'')
      out += "\u2019";
    else if (std::string_view("\"`$\\").find(c) == std::string_view::npos)
      out += c;
  }
  return out;
}

OptionFacts facts_of(const CLI::Option& option) {
  OptionFacts facts;
  for (const std::string& name : option.get_snames()) facts.names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) facts.names.push_back("--" + name);
  facts.description = plain(option.get_description());
  if (option.get_items_expected_max() == 0) return facts;
  const std::string type_name = option.get_type_name();
  facts.value_name = type_name;
  facts.words = choices(type_name);
  facts.value = !facts.words.empty()                          ? Value::kWords
                : type_name.find("FILE") != std::string::npos ? Value::kFile
                                                              : Value::kOther;
  facts.repeatable = option.get_multi_option_policy() == CLI::MultiOptionPolicy::TakeAll;
  return facts;
}

std::vector<VerbFacts> verbs_of(const CLI::App& app) {
  std::vector<VerbFacts> verbs;
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; })) {
    VerbFacts facts{
        .name = verb->get_name(), .description = plain(verb->get_description()), .options = {}, .words = {}};
    for (const CLI::Option* option : verb->get_options()) {
      if (option->get_positional()) {
        facts.takes_model = facts.takes_model || option->get_name(true) == "MODEL";
        facts.takes_name = facts.takes_name || option->get_name(true) == "NAME";
        facts.words = choices(option->get_type_name());
      } else if (!option->get_group().empty()) {
        facts.options.push_back(facts_of(*option));
      }
    }
    verbs.push_back(std::move(facts));
  }
  return verbs;
}

std::vector<std::string> names_of(const std::vector<VerbFacts>& verbs) {
  std::vector<std::string> names;
  names.reserve(verbs.size());
  for (const VerbFacts& verb : verbs) names.push_back(verb.name);
  return names;
}

// ---- bash ----

std::string bash_verb(const VerbFacts& verb) {
  std::string cases, names;
  for (const OptionFacts& option : verb.options) {
    names += fmt::format("{} ", fmt::join(option.names, " "));
    const std::string pattern = fmt::format("{}", fmt::join(option.names, "|"));
    switch (option.value) {
      case Value::kNone:
        break;
      case Value::kWords:
        cases += fmt::format("        {}) _spillway_words '{}'; return ;;\n", pattern, fmt::join(option.words, " "));
        break;
      case Value::kFile:
        cases += fmt::format("        {}) _spillway_files ''; return ;;\n", pattern);
        break;
      case Value::kOther:
        cases += fmt::format("        {}) return ;;\n", pattern);
        break;
    }
  }
  const std::string positional = verb.takes_model  ? "_spillway_models"
                                 : verb.takes_name ? "_spillway_names"
                                                   : fmt::format("_spillway_words '{}'", fmt::join(verb.words, " "));
  return fmt::format(R"(    {}) case "$prev" in
{}      esac
      if [[ $cur == -* ]]; then _spillway_words '{}'; else {}; fi ;;
)",
                     verb.name, cases, names, positional);
}

std::string bash_script(const std::vector<VerbFacts>& verbs) {
  std::string cases;
  for (const VerbFacts& verb : verbs) cases += bash_verb(verb);
  return fmt::format(R"(# bash completion for spillway
_spillway_words() {{ COMPREPLY=($(compgen -W "$1" -- "$cur")); }}
_spillway_files() {{  # $1: pattern of names to leave out
  local IFS=$'\n'
  compopt -o filenames 2>/dev/null
  COMPREPLY=($(compgen -f -X "$1" -- "$cur") $([[ -n $1 ]] && compgen -d -- "$cur"))
}}
_spillway_names() {{  # bash ends words at ':'; what is before it stays on the line
  local line=${{COMP_LINE:0:COMP_POINT}} name
  local word=${{line##*[[:space:]]}}
  local kept=${{word%"${{word##*:}}"}}
  [[ $COMP_WORDBREAKS == *:* ]] || kept=
  while IFS= read -r name; do
    [[ $name == "$word"* ]] && COMPREPLY+=("${{name#"$kept"}}")
  done < <(spillway list --names 2>/dev/null)
}}
_spillway_models() {{ _spillway_files '!*.gguf'; _spillway_names; }}
_spillway() {{
  local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}}
  COMPREPLY=()
  if (( COMP_CWORD == 1 )); then _spillway_words '{} --help --version'; return; fi
  case "${{COMP_WORDS[1]}}" in
{}  esac
}}
complete -F _spillway spillway
)",
                     fmt::join(names_of(verbs), " "), cases);
}

// ---- zsh ----

std::string zsh_value(const OptionFacts& option) {
  switch (option.value) {
    case Value::kNone:
      return "";
    case Value::kWords:
      return fmt::format(":value:({})", fmt::join(option.words, " "));
    case Value::kFile:
      return ":file:_files";
    case Value::kOther:
      return fmt::format(":{}: ", option.value_name.empty() ? "value" : option.value_name);
  }
  return "";
}

std::string zsh_verb(const VerbFacts& verb) {
  std::string lines;
  for (const OptionFacts& option : verb.options) {
    const std::string excluded = option.repeatable ? "*" : fmt::format("({})", fmt::join(option.names, " "));
    for (const std::string& name : option.names)
      lines += fmt::format(" \\\n        '{}{}[{}]{}'", excluded, name, option.description, zsh_value(option));
  }
  const std::string positional = verb.takes_model  ? "*:model:_spillway_models"
                                 : verb.takes_name ? "*:name:_spillway_names"
                                                   : fmt::format("1:value:({})", fmt::join(verb.words, " "));
  return fmt::format("      {}) _arguments{} \\\n        '{}' ;;\n", verb.name, lines, positional);
}

std::string zsh_script(const std::vector<VerbFacts>& verbs) {
  std::string descriptions, cases;
  for (const VerbFacts& verb : verbs) {
    descriptions += fmt::format(" '{}:{}'", verb.name, verb.description);
    cases += zsh_verb(verb);
  }
  return fmt::format(R"zsh(#compdef spillway
_spillway_names() {{ local -a names; names=(${{(f)"$(spillway list --names 2>/dev/null)"}}); compadd -a names }}
_spillway_models() {{ _spillway_names; _files -g "*.gguf" }}
_spillway() {{
  local curcontext=$curcontext state line
  _arguments -C '(- *)--help[print help]' '(- *)--version[print the version]' '1: :->verb' '*:: :->rest'
  case $state in
    verb) local -a verbs=({} ); _describe verb verbs ;;
    rest) case $line[1] in
{}    esac ;;
  esac
}}
if [[ $funcstack[1] == _spillway ]]; then _spillway "$@"; else compdef _spillway spillway; fi
)zsh",
                     descriptions, cases);
}

// ---- fish ----

std::string fish_option(const VerbFacts& verb, const OptionFacts& option) {
  std::string names, value;
  for (const std::string& name : option.names)
    names += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
  if (option.value == Value::kWords) value = fmt::format(" -x -a '{}'", fmt::join(option.words, " "));
  if (option.value == Value::kFile) value = " -r -F";
  if (option.value == Value::kOther) value = " -x";
  return fmt::format("complete -c spillway -n '__fish_seen_subcommand_from {}'{}{} -d '{}'\n", verb.name, names, value,
                     option.description);
}

std::string fish_script(const std::vector<VerbFacts>& verbs) {
  std::string script = "# fish completion for spillway\ncomplete -c spillway -f\n";
  const std::string none = fmt::format("not __fish_seen_subcommand_from {}", fmt::join(names_of(verbs), " "));
  script += fmt::format("complete -c spillway -n '{}' -l help -d 'Print help'\n", none);
  script += fmt::format("complete -c spillway -n '{}' -l version -d 'Print the version'\n", none);
  for (const VerbFacts& verb : verbs) {
    script += fmt::format("complete -c spillway -n '{}' -a {} -d '{}'\n", none, verb.name, verb.description);
    if (verb.takes_model)
      script += fmt::format(
          "complete -c spillway -n '__fish_seen_subcommand_from {}' -k -a '(__fish_complete_suffix .gguf)'\n",
          verb.name);
    if (verb.takes_model || verb.takes_name)
      script += fmt::format(
          "complete -c spillway -n '__fish_seen_subcommand_from {}' -a '(spillway list --names 2>/dev/null)'\n",
          verb.name);
    if (!verb.words.empty())
      script += fmt::format("complete -c spillway -n '__fish_seen_subcommand_from {}' -a '{}'\n", verb.name,
                            fmt::join(verb.words, " "));
    for (const OptionFacts& option : verb.options) script += fish_option(verb, option);
  }
  return script;
}

}  // namespace

std::string completion_script(const CLI::App& app, Shell shell) {
  const std::vector<VerbFacts> verbs = verbs_of(app);
  switch (shell) {
    case Shell::kBash:
      return bash_script(verbs);
    case Shell::kZsh:
      return zsh_script(verbs);
    case Shell::kFish:
      return fish_script(verbs);
  }
  return "";
}

}  // namespace spillway
