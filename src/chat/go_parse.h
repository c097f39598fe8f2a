// SPDX-License-Identifier: MIT
// Go's template language (text/template) as a tree. Pure.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "chat/go_value.h"

namespace spillway {

struct GoPipe;

struct GoArgument {
  enum Kind {
    kDot,
    kConstant,  // nil, true, 1, "text"
    kField,     // .A.B: names
    kVariable,  // $x.A: names, the first without its $; "" is $ itself
    kFunction,  // name: names[0]
    kPipe       // (…).A: pipe, names
  } kind = kDot;
  GoValue constant = {};
  std::vector<std::string> names = {};
  std::shared_ptr<const GoPipe> pipe = {};
};

// command | command …, perhaps with variables that take its value.
struct GoPipe {
  std::vector<std::string> variables;  // without $
  bool assigns = false;                // =, not :=
  std::vector<std::vector<GoArgument>> commands;
};

struct GoNode;
using GoNodes = std::vector<GoNode>;

struct GoNode {
  enum Kind { kText, kAction, kIf, kRange, kWith, kTemplate, kBreak, kContinue } kind = kText;
  std::string text = {};  // kText; of kTemplate the name
  GoPipe pipe = {};
  GoNodes then = {}, otherwise = {};
};

struct GoTemplateText {
  GoNodes root;
  std::map<std::string, GoNodes> named;  // {{ define }} and {{ block }}

  // Names of fields and variables that the template reads, in small letters.
  bool reads(std::string_view name) const;
};

//   Unsupported   not a template, or more of the language than is known; the message says what and in which line
Result<GoTemplateText> parse_go_template(std::string_view text);

// The functions that a template may call.
bool is_go_function(std::string_view name);

}  // namespace spillway
