// SPDX-License-Identifier: MIT
// The option that adds LoRA adapters to a model, for every verb that loads one.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "cli/model_argument.h"
#include "engine/engine.h"

namespace spillway {

// "FILE", or "FILE:SCALE" where there is no file of the whole name.
//   InvalidArgument   a scale that is no number
Result<LoraAdapter> parse_adapter(const std::string& text);

// Writes into `adapters` while `app` parses; it must outlive that. `group` of the help; empty: the app's own.
void declare_adapter_option(CLI::App& app, std::vector<LoraAdapter>& adapters, const std::string& group = "");

// Those that belong to the model, where the command line names none.
void take_own_adapters(const NamedModel& model, std::vector<LoraAdapter>& adapters);

// What they take in memory beside `model`.
//   errors of open_adapter_file and check_adapter_count
Result<uint64_t> adapter_bytes(const std::vector<LoraAdapter>& adapters, const GgufModel& model);

}  // namespace spillway
