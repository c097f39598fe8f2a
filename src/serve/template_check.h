// SPDX-License-Identifier: MIT
// Whether a chat template can be used, and for what. Pure.
#pragma once

#include <string>

#include "base/status.h"
#include "model/catalog.h"

namespace spillway {

// Of a Modelfile, of a request. Before anything is made with it.
//   InvalidArgument   it cannot be parsed; the message is one a user can act on
Result<void> check_template(const std::string& text);

// For CatalogOptions::read_template: what is announced is what an answer is read for. Nothing where it cannot be used.
TemplateAbilities template_abilities(const std::string& text);

}  // namespace spillway
