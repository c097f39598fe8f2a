// SPDX-License-Identifier: MIT
// Ollama's options: of a request ("options"), of a Modelfile's PARAMETER lines, of a stored model. Pure.
#pragma once

#include "base/status.h"
#include "serve/call.h"
#include "serve/json_input.h"

namespace spillway {

// Names that are none of ours are ignored, as Ollama ignores them.
//   InvalidArgument   option "x" must be of type ...
Result<CallOptions> parse_ollama_options(const Json& options);

// What a stored model says, which nobody can correct any more: each option that can be read.
CallOptions stored_options(const Json& parameters);

// The sampler's for a seed that somebody gave: never the one that stands for a new one each time.
uint32_t sampler_seed(int64_t seed);

// Those that something here reads.
std::vector<std::string> used_option_names();

// Those that nothing here reads.
std::vector<std::string> unused_option_names(const Json& parameters);

// Whether each name is an option of Ollama's, also one that does nothing here or does not exist any more.
//   InvalidArgument   names the one that is none
Result<void> check_option_names(const Json& parameters);

}  // namespace spillway
