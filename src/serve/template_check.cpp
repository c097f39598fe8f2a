// SPDX-License-Identifier: MIT
#include "serve/template_check.h"

#include <fmt/format.h>

#include <string_view>

#include "chat/template.h"
#include "model/modelfile.h"

namespace spillway {
namespace {

Result<void> refuse(const std::string& why) {
  return error(Code::kInvalidArgument, fmt::format("the template cannot be parsed: {}", why));
}

// What every Go template has to have, whatever its functions: actions that end, blocks that end.
Result<void> check_go(std::string_view text) {
  int open_blocks = 0;
  for (size_t begin = text.find("{{"); begin != std::string_view::npos; begin = text.find("{{")) {
    text.remove_prefix(begin + 2);
    const bool comment = text.starts_with("/*") || text.starts_with("- /*");
    size_t end = comment ? text.find("*/") : 0;
    if (end != std::string_view::npos) end = text.find("}}", end);
    if (end == std::string_view::npos) return refuse("unclosed action: no }} ends a {{");
    std::string_view action = text.substr(0, end);
    text.remove_prefix(end + 2);
    if (action.starts_with('-')) action.remove_prefix(1);
    const size_t word = action.find_first_not_of(" \t\r\n");
    if (word == std::string_view::npos) return refuse("an empty {{ }}");
    action.remove_prefix(word);
    const std::string_view name = action.substr(0, action.find_first_of(" \t\r\n-"));
    if (name == "if" || name == "range" || name == "with" || name == "define" || name == "block") ++open_blocks;
    if (name == "end" && --open_blocks < 0) return refuse("{{ end }} ends nothing");
  }
  return open_blocks == 0 ? Result<void>() : refuse("an {{ end }} is missing");
}

}  // namespace

Result<void> check_template(const std::string& text) {
  if (!is_jinja(text)) return check_go(text);
  const auto opened = ChatTemplate::open({.text = text, .bos_token = {}, .eos_token = {}, .limits = {}});
  return opened ? Result<void>() : refuse(opened.error().message());
}

}  // namespace spillway
