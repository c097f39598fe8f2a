// SPDX-License-Identifier: MIT
// The option that names the projector a model sees images with, for every verb that loads one.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

#include "base/status.h"
#include "cli/model_argument.h"
#include "model/projector_search.h"

namespace spillway {

// Writes into `projector` while `app` parses. `group` of the help; empty: the app's own.
void declare_projector_option(CLI::App& app, std::string& projector, const std::string& group = "");

// The path of what was asked for: a file, kNoProjector, or nothing, which means the one that belongs to the model or
// stands beside it. Empty: none.
std::string projector_path(const std::string& asked, const NamedModel& model);

// What it takes in memory; 0 without one.
//   errors of open_projector_file
Result<uint64_t> projector_bytes(const std::string& path);

}  // namespace spillway
