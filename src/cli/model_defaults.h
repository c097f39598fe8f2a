// SPDX-License-Identifier: MIT
// What comes with a stored model (parameters, system message, template, messages), as options of `spillway run`.
#pragma once

#include <functional>
#include <string>

#include "cli/run/run_options.h"
#include "model/catalog.h"

namespace spillway {

// Whether the command line has an option, by its long name ("--temp").
using IsGiven = std::function<bool(const std::string& option)>;

// The command line wins. Parameters that `run` has no option for (num_gpu, …) are left out, as are those of a wrong
// type.
void take_model_defaults(const ModelExtras& extras, const IsGiven& is_given, RunOptions& options);

}  // namespace spillway
