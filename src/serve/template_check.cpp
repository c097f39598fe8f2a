// SPDX-License-Identifier: MIT
#include "serve/template_check.h"

#include <fmt/format.h>

#include <chrono>
#include <memory>

#include "chat/template.h"

namespace spillway {
namespace {

Result<std::unique_ptr<ChatTemplate>> open(const std::string& text) {
  return ChatTemplate::open({.text = text, .bos_token = {}, .eos_token = {}, .limits = {}});
}

}  // namespace

Result<FairPlaces::Place> place_for_template(const Asker& asker) {
  static FairPlaces places(4);
  return places.take(asker, false, std::chrono::seconds(30));
}

Result<void> check_template(const std::string& text) {
  const auto opened = open(text);
  if (opened) return {};
  if (opened.error().code() == Code::kBusy) return Failure(opened.error());
  return error(Code::kInvalidArgument, fmt::format("the template cannot be parsed: {}", opened.error().message()));
}

TemplateAbilities template_abilities(const std::string& text) {
  const auto opened = open(text);
  if (!opened) return {};
  const TemplateTraits& traits = (*opened)->traits();
  return {.tools = traits.tools, .thinking = traits.thinking};
}

}  // namespace spillway
