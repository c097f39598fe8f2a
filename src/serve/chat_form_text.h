// SPDX-License-Identifier: MIT
// How a model that is stored will chat, for those who show it. Pure.
#pragma once

#include <string>

#include "model/catalog.h"

namespace spillway {

// "by the template of its file", "by the turns of Gemma: it has no template, and its vocabulary has <start_of_turn>".
// Empty for a model that does not chat.
std::string chat_form_text(const ModelDescription& model);

}  // namespace spillway
