// SPDX-License-Identifier: MIT
#include "serve/template_check.h"

#include <fmt/format.h>

#include <memory>

#include "chat/template.h"

namespace spillway {
namespace {

Result<std::unique_ptr<ChatTemplate>> open(const std::string& text) {
  return ChatTemplate::open({.text = text, .bos_token = {}, .eos_token = {}, .limits = {}});
}

FairPlaces& places_for_templates() {
  static FairPlaces places(4);
  return places;
}

}  // namespace

Result<FairPlaces::Place> place_for_template(const Asker& asker) {
  return places_for_templates().take(asker, false, kTemplatePatience);
}

std::unique_ptr<FairPlaces::Turn> turn_for_template(const std::string& client) {
  return std::make_unique<FairPlaces::Turn>(places_for_templates(), client, false);
}

Result<void> check_template(const std::string& text) {
  const auto opened = open(text);
  if (opened) return {};
  if (opened.error().code() == Code::kBusy) return Failure(opened.error());
  return error(Code::kInvalidArgument, fmt::format("the template cannot be parsed: {}", opened.error().message()));
}

TemplateAbilities template_abilities(const std::string& text) {
  static FairPlaces places(4);  // whoever lists models, or shows one, asks for all that are new
  const auto place = places.take({}, false);
  const auto opened = open(text);
  if (!opened) return {.is_known = opened.error().code() != Code::kBusy};
  const TemplateTraits& traits = (*opened)->traits();
  return {.tools = traits.tools, .thinking = traits.thinking};
}

}  // namespace spillway
