// SPDX-License-Identifier: MIT
// For check_templates.py: renders cases as reference.py does, with Spillway's interpreter. One JSON object per line, in
// and out.
#include <ctime>
#include <iostream>
#include <nlohmann/json.hpp>

#include "chat/jinja.h"

namespace spillway {
namespace {

using json = nlohmann::ordered_json;

// 2026-07-04 09:05, as in reference.py.
std::time_t fixed_now() {
  std::tm local{};
  local.tm_year = 126;
  local.tm_mon = 6;
  local.tm_mday = 4;
  local.tm_hour = 9;
  local.tm_min = 5;
  local.tm_isdst = -1;
  return std::mktime(&local);
}

json failure(const Status& status) {
  return {{"error", status.message()}, {"refused", status.code() == Code::kInvalidArgument}};
}

int run() {
  std::string line, parsed_text;
  Result<std::unique_ptr<Jinja>> jinja = error(Code::kInternal, "nothing parsed");
  while (std::getline(std::cin, line)) {
    const json test = json::parse(line);
    const auto text = test["template"].get<std::string>();
    if (text != parsed_text) {
      jinja = Jinja::parse(text, {.seconds_max = 20.0, .memory_bytes_max = 1ull << 30});
      parsed_text = text;
    }
    if (!jinja) {
      std::cout << failure(jinja.error()) << "\n";
      continue;
    }
    const auto out = (*jinja)->render(test["variables"].dump(), fixed_now());
    std::cout << (out ? json{{"text", *out}} : failure(out.error())) << "\n";
  }
  return 0;
}

}  // namespace
}  // namespace spillway

int main() { return spillway::run(); }
