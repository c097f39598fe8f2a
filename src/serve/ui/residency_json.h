// SPDX-License-Identifier: MIT
// What the page's map asks for; docs/serve-ui.md says what the fields mean.
#pragma once

#include <string>

#include "engine/engine.h"

namespace spillway {

// One line, without a line break.
std::string residency_json(const std::string& model, const Residency& residency);

}  // namespace spillway
