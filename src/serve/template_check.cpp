// SPDX-License-Identifier: MIT
#include "serve/template_check.h"

#include <fmt/format.h>

#include "base/clock.h"
#include "base/mutex.h"
#include "chat/template.h"

namespace spillway {
namespace {

constexpr double kPatience_s = 30;

struct Turns {
  Mutex mutex;
  CondVar changed;
  int n_left GUARDED_BY(mutex) = 4;
};

Turns& turns() {
  static Turns all;
  return all;
}

Result<std::unique_ptr<ChatTemplate>> open(const std::string& text) {
  return ChatTemplate::open({.text = text, .bos_token = {}, .eos_token = {}, .limits = {}});
}

}  // namespace

Result<TemplateTurn> TemplateTurn::take() {
  Turns& all = turns();
  const Stopwatch waited;
  const MutexLock lock(all.mutex);
  while (all.n_left == 0) {
    if (waited.elapsed_s() > kPatience_s) return error(Code::kBusy, "too many requests bring templates; try again");
    all.changed.wait_for(all.mutex, std::chrono::milliseconds(1000));
  }
  --all.n_left;
  return TemplateTurn(&all);
}

void TemplateTurn::End::operator()(const void*) const {
  Turns& all = turns();
  const MutexLock lock(all.mutex);
  ++all.n_left;
  all.changed.notify_all();
}

Result<void> check_template(const std::string& text) {
  const auto opened = open(text);
  if (opened) return {};
  return error(Code::kInvalidArgument, fmt::format("the template cannot be parsed: {}", opened.error().message()));
}

TemplateAbilities template_abilities(const std::string& text) {
  const auto opened = open(text);
  if (!opened) return {};
  const TemplateTraits& traits = (*opened)->traits();
  return {.tools = traits.tools, .thinking = traits.thinking};
}

}  // namespace spillway
