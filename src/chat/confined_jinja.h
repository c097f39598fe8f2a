// SPDX-License-Identifier: MIT
// A template that runs in a process of its own, which is ended when it takes too long or too much: nothing that a
// template does can stop the process that asks.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "chat/jinja.h"

namespace spillway {

// `program` is one whose main() calls answer_as_jinja() when it is given kJinjaArgument alone.
//   errors of Jinja::parse(), and:
//   NotFound  PermissionDenied   the program cannot be started
//   Busy                         the system gives no process, descriptor or memory for it now; so may render() end
Result<std::unique_ptr<Jinja>> parse_confined(const std::string& program, std::string_view text,
                                              const JinjaLimits& limits);

// From now on all templates of this process run so: none that is forgotten runs within. Once, before there are threads.
void confine_templates_to(std::string program);
const std::string& template_program();  // empty: they run in this process, as in tests

constexpr const char* kJinjaArgument = "--run-chat-template";

// Of that program: serves one template, until nobody asks any more.
void answer_as_jinja();

}  // namespace spillway
