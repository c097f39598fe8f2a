// SPDX-License-Identifier: MIT
#include "serve/chat_form_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "chat/chat_form.h"
#include "model/modelfile.h"

namespace spillway {

std::string chat_form_text(const ModelDescription& model) {
  const auto& capabilities = model.entry.capabilities;
  if (std::find(capabilities.begin(), capabilities.end(), "completion") == capabilities.end()) return "";
  const std::set<std::string_view> vocabulary(model.vocabulary.begin(), model.vocabulary.end());
  const auto form = choose_chat_form({.given = given_template(model.extras),
                                      .own = model.file_template,
                                      .has_token = [&](std::string_view token) { return vocabulary.contains(token); }});
  if (!form) return form.error().message();
  return fmt::format("{}{}{}", form->why, form->unusable.empty() ? "" : "; ", fmt::join(form->unusable, "; "));
}

}  // namespace spillway
