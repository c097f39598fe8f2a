// SPDX-License-Identifier: MIT
// What comes with a stored model (parameters, system message, template, messages), as options of `spillway run`.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "cli/run/run_options.h"
#include "model/catalog.h"

namespace spillway {

// Whether the command line has an option, by its long name ("--temp").
using IsGiven = std::function<bool(const std::string& option)>;

// The context that the model's own parameters name; none where they do not.
std::optional<uint32_t> stored_context(const ModelExtras& extras);

// The command line wins. Parameters that `run` has no option for (num_gpu, …) are left out, as are those of a wrong
// type.
void take_model_defaults(const ModelExtras& extras, const IsGiven& is_given, RunOptions& options);

}  // namespace spillway
