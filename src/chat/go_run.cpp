// SPDX-License-Identifier: MIT
#include "chat/go_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/utf8.h"
#include "chat/go_functions.h"
#include "os/machine.h"

namespace spillway {
namespace {

constexpr size_t kCallDepthMax = 100;    // of templates that call each other
constexpr size_t kBlockDepthMax = 1000;  // of what they nest, all together: each takes from the stack
constexpr uint64_t kStepsBetweenChecks = 1024;
constexpr uint64_t kWorkBetweenChecks = 4 << 20;  // bytes that functions were given

class Run {
 public:
  Run(const GoTemplateText& text, const GoValue& data, std::time_t now, const GoLimits& limits)
      : text_(text), now_(now), limits_(limits), deadline_s_(thread_cpu_s() + limits.seconds_max) {
    variables_.emplace_back("", data);
  }

  Result<std::string> run() {
    const GoValue data = variables_.front().second;
    RETURN_IF_ERROR(walk(text_.root, data));
    RETURN_IF_ERROR(step());
    return std::move(out_);
  }

 private:
  enum class Flow { kOn, kBreak, kContinue };

  static Failure fail(const std::string& what) {
    return error(Code::kUnsupported, fmt::format("the template failed: {}", shortened(what)));
  }

  Result<void> step() {
    const bool is_due = ++steps_ % kStepsBetweenChecks == 0 || worked_bytes_ > kWorkBetweenChecks;
    if (is_due) worked_bytes_ = 0;
    if (is_due && thread_cpu_s() > deadline_s_)
      return error(Code::kOutOfBudget, fmt::format("the template ran for more than {} s", limits_.seconds_max));
    if (out_.size() > limits_.output_bytes_max) return wrote_too_much();
    return {};
  }

  Failure wrote_too_much() const {
    return error(Code::kOutOfBudget, fmt::format("the template wrote more than {} bytes", limits_.output_bytes_max));
  }

  Result<Flow> walk(const GoNodes& nodes, const GoValue& dot) {
    if (++block_depth_ > kBlockDepthMax) return error(Code::kOutOfBudget, "the template is nested too deeply");
    auto flow = walk_on(nodes, dot);
    --block_depth_;
    return flow;
  }

  Result<Flow> walk_on(const GoNodes& nodes, const GoValue& dot) {
    for (const GoNode& node : nodes) {
      RETURN_IF_ERROR(step());
      switch (node.kind) {
        case GoNode::kText:
          out_ += node.text;
          break;
        case GoNode::kAction: {
          ASSIGN_OR_RETURN(const GoValue value, pipe(node.pipe, dot));
          if (node.pipe.variables.empty()) RETURN_IF_ERROR(write(value));
          break;
        }
        case GoNode::kTemplate:
          RETURN_IF_ERROR(call(node, dot));
          break;
        case GoNode::kBreak:
          return Flow::kBreak;
        case GoNode::kContinue:
          return Flow::kContinue;
        case GoNode::kRange: {
          const size_t known = variables_.size();
          RETURN_IF_ERROR(range(node, dot));
          variables_.resize(known);
          break;
        }
        default: {
          const size_t known = variables_.size();
          ASSIGN_OR_RETURN(const GoValue value, pipe(node.pipe, dot));
          ASSIGN_OR_RETURN(const Flow flow, walk(value.truth() ? node.then : node.otherwise,
                                                 node.kind == GoNode::kWith && value.truth() ? value : dot));
          variables_.resize(known);
          if (flow != Flow::kOn) return flow;
        }
      }
    }
    return Flow::kOn;
  }

  Result<void> call(const GoNode& node, const GoValue& dot) {
    if (++depth_ > kCallDepthMax) return error(Code::kOutOfBudget, "the template calls itself too deeply");
    GoValue data;
    if (!node.pipe.commands.empty()) {
      ASSIGN_OR_RETURN(data, pipe(node.pipe, dot));
    }
    // What it declares is its own; $ is what it was given.
    std::vector<std::pair<std::string, GoValue>> outer = std::exchange(variables_, {{"", data}});
    const auto flow = walk(text_.named.at(node.text), data);
    variables_ = std::move(outer);
    --depth_;
    if (!flow) return Failure(flow.error());
    return {};
  }

  Result<void> write(const GoValue& value) {
    if (const std::string* text = value.as_text(); text != nullptr) {
      out_ += *text;  // without a copy of it
      return {};
    }
    BoundedText printed(limits_.output_bytes_max);
    value.print(printed);
    if (printed.is_full()) return wrote_too_much();
    out_ += printed.text();
    return {};
  }

  // Visits the elements one by one, with what Go gives as their first variable, until `visit` says that it is enough.
  template <typename Visit>
  static Result<void> for_each_element(const GoValue& value, const Visit& visit) {
    if (const GoList* list = value.as_list()) {
      for (size_t i = 0; i < list->size(); ++i) {
        ASSIGN_OR_RETURN(const bool more, visit(GoValue(static_cast<int64_t>(i)), (*list)[i]));
        if (!more) break;
      }
    } else if (const GoMap* map = value.as_map()) {
      for (const auto& [key, one] : *map) {
        ASSIGN_OR_RETURN(const bool more, visit(GoValue(key), one));
        if (!more) break;
      }
    } else if (const int64_t* count = value.as_int()) {
      constexpr int64_t kCountMax = 1 << 20;
      if (*count > kCountMax) return fail(fmt::format("a range of {}", *count));
      for (int64_t i = 0; i < *count; ++i) {
        ASSIGN_OR_RETURN(const bool more, visit(GoValue(i), GoValue(i)));
        if (!more) break;
      }
    } else if (!value.is_nil()) {
      return fail(fmt::format("range cannot go over a {}", value.type_name()));
    }
    return {};
  }

  Result<void> range(const GoNode& node, const GoValue& dot) {
    ASSIGN_OR_RETURN(const GoValue value, evaluate(node.pipe, dot));  // holds the elements while they are visited
    const std::vector<std::string>& names = node.pipe.variables;
    if (value.as_int() != nullptr && names.size() > 1) return fail("a range over a number has one variable");
    if (!node.pipe.assigns)
      for (const std::string& name : names) variables_.emplace_back(name, value);
    const size_t known = variables_.size();
    bool is_empty = true;
    const auto visit = [&](const GoValue& key, const GoValue& one) -> Result<bool> {
      is_empty = false;
      RETURN_IF_ERROR(step());
      if (names.size() == 1) set(names[0], value.as_int() != nullptr ? key : one);
      if (names.size() == 2) {
        set(names[0], key);
        set(names[1], one);
      }
      ASSIGN_OR_RETURN(const Flow flow, walk(node.then, one));
      variables_.resize(known);
      return flow != Flow::kBreak;
    };
    RETURN_IF_ERROR(for_each_element(value, visit));
    if (is_empty) {
      ASSIGN_OR_RETURN(const Flow flow, walk(node.otherwise, dot));
      (void)flow;
    }
    return {};
  }

  void set(const std::string& name, GoValue value) {
    for (size_t i = variables_.size(); i-- > 0;)
      if (variables_[i].first == name) {
        variables_[i].second = std::move(value);
        return;
      }
  }

  Result<GoValue> evaluate(const GoPipe& source, const GoValue& dot) {
    RETURN_IF_ERROR(step());
    GoValue value;
    for (size_t i = 0; i < source.commands.size(); ++i) {
      ASSIGN_OR_RETURN(value, command(source.commands[i], dot, i > 0 ? &value : nullptr));
    }
    return value;
  }
  // The same, and its variables take the value.
  Result<GoValue> pipe(const GoPipe& source, const GoValue& dot) {
    ASSIGN_OR_RETURN(GoValue value, evaluate(source, dot));
    for (const std::string& name : source.variables) {
      if (source.assigns)
        set(name, value);
      else
        variables_.emplace_back(name, value);
    }
    return value;
  }

  // `last`: what the command before it made.
  Result<GoValue> command(const std::vector<GoArgument>& words, const GoValue& dot, const GoValue* last) {
    const bool nothing = words.front().kind == GoArgument::kConstant && words.front().constant.is_nil();
    if (nothing) return fail("nil is not a command");
    if (words.front().kind != GoArgument::kFunction) return argument(words.front(), dot);
    const std::string& name = words.front().names.front();
    if (name == "and" || name == "or") return first_that_decides(name == "or", words, dot, last);
    std::vector<GoValue> arguments;
    for (size_t i = 1; i < words.size(); ++i) {
      ASSIGN_OR_RETURN(GoValue one, argument(words[i], dot));
      arguments.push_back(std::move(one));
    }
    if (last != nullptr) arguments.push_back(*last);
    // What makes text of text may make it six times as long; what only looks at it takes time.
    for (const GoValue& one : arguments)
      if (one.as_text() != nullptr) worked_bytes_ += one.as_text()->size();
    auto result = call_go_function(name, arguments, now_, limits_.made_bytes_max - made_bytes_);
    if (!result && result.error().code() == Code::kOutOfBudget)
      return error(Code::kOutOfBudget, fmt::format("the template computes too much: {}", result.error().message()));
    if (!result) return fail(result.error().message());
    if (const std::string* made = result->as_text(); made != nullptr) {
      if (made->size() > limits_.made_bytes_max - made_bytes_)
        return error(Code::kOutOfBudget,
                     fmt::format("the template makes more than {} bytes of text", limits_.made_bytes_max));
      made_bytes_ += made->size();
    }
    RETURN_IF_ERROR(step());
    return result;
  }

  Result<GoValue> first_that_decides(bool truth, const std::vector<GoArgument>& words, const GoValue& dot,
                                     const GoValue* last) {
    GoValue value;
    if (words.size() < 2 && last == nullptr) return fail("and, or want arguments");
    for (size_t i = 1; i < words.size(); ++i) {
      ASSIGN_OR_RETURN(value, argument(words[i], dot));
      if (value.truth() == truth) return value;
    }
    return last != nullptr ? *last : value;
  }

  Result<GoValue> argument(const GoArgument& one, const GoValue& dot) {
    switch (one.kind) {
      case GoArgument::kDot:
        return dot;
      case GoArgument::kConstant:
        return one.constant;
      case GoArgument::kField:
        return fields(dot, one.names, 0);
      case GoArgument::kVariable:
        for (size_t i = variables_.size(); i-- > 0;)
          if (variables_[i].first == one.names.front()) return fields(variables_[i].second, one.names, 1);
        return fail(fmt::format("${} is not declared", one.names.front()));
      case GoArgument::kFunction:
        return command({one}, dot, nullptr);
      case GoArgument::kPipe:
        break;
    }
    ASSIGN_OR_RETURN(const GoValue value, pipe(*one.pipe, dot));
    return fields(value, one.names, 0);
  }

  static Result<GoValue> fields(GoValue value, const std::vector<std::string>& names, size_t from) {
    for (size_t i = from; i < names.size(); ++i) {
      const std::string& name = names[i];
      if (const GoMap* map = value.as_map()) {
        const auto found = map->find(name);
        value = found == map->end() ? GoValue() : GoValue(found->second);
      } else if (const GoStruct* structure = value.as_struct()) {
        const auto found = std::find_if(structure->fields.begin(), structure->fields.end(),
                                        [&](const GoField& field) { return field.name == name; });
        if (found == structure->fields.end()) return fail(fmt::format("there is no field {}", name));
        value = GoValue(found->value);
      } else {
        return fail(fmt::format("a {} has no field {}", value.type_name(), name));
      }
    }
    return value;
  }

  const GoTemplateText& text_;
  const std::time_t now_;
  const GoLimits limits_;
  const double deadline_s_;  // of this thread's own time
  std::string out_;
  std::vector<std::pair<std::string, GoValue>> variables_;
  uint64_t steps_ = 0, worked_bytes_ = 0, made_bytes_ = 0;
  size_t depth_ = 0, block_depth_ = 0;
};

}  // namespace

Result<std::string> run_go_template(const GoTemplateText& text, const GoValue& data, std::time_t now,
                                    const GoLimits& limits) {
  return Run(text, data, now, limits).run();
}

}  // namespace spillway
