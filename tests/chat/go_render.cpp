// SPDX-License-Identifier: MIT
// For check_go_templates.py: runs Go templates as Spillway does. Lines of JSON in and out:
//   {"template": text, "data": any JSON}                     the language alone
//   {"template": text, "messages": [...], "tools": [...]}     as a chat template
//   -> {"text": …} or {"error": …}
#include <iostream>
#include <nlohmann/json.hpp>

#include "chat/go_run.h"
#include "chat/template_program.h"

namespace spillway {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::time_t kNow = 1'783'155'900;  // 2026-07-04

Result<std::string> run_language(const Json& test) {
  ASSIGN_OR_RETURN(const GoTemplateText text, parse_go_template(test["template"].get<std::string>()));
  return run_go_template(text, GoValue::from_json(test["data"]), kNow, {});
}

Result<std::string> run_chat(const Json& test) {
  ASSIGN_OR_RETURN(const auto program, open_go_program({.text = test["template"].get<std::string>()}));
  std::vector<Message> messages;
  for (const Json& one : test["messages"]) {
    Message message{.role = one["role"].get<std::string>(), .content = one.value("content", "")};
    message.thinking = one.value("thinking", "");
    message.tool_name = one.value("tool_name", "");
    for (const Json& call : one.value("tool_calls", Json::array()))
      message.tool_calls.push_back({.name = call["name"].get<std::string>(), .arguments = call["arguments"].dump()});
    messages.push_back(std::move(message));
  }
  std::vector<Tool> tools;
  for (const Json& one : test.value("tools", Json::array()))
    tools.push_back({.name = one["name"].get<std::string>(),
                     .description = one["description"].get<std::string>(),
                     .parameters = one["parameters"].dump()});
  PromptOptions options;
  options.now = kNow;
  if (test.contains("think")) options.think = test["think"].get<bool>();
  return program->render(messages, tools, options, {});
}

int run() {
  std::string line;
  while (std::getline(std::cin, line)) {
    const Json test = Json::parse(line);
    const auto text = test.contains("data") ? run_language(test) : run_chat(test);
    std::cout << (text ? Json{{"text", *text}} : Json{{"error", text.error().message()}})
                     .dump(-1, ' ', false, Json::error_handler_t::replace)
              << "\n";
  }
  return 0;
}

}  // namespace
}  // namespace spillway

int main() { return spillway::run(); }
