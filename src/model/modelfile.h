// SPDX-License-Identifier: MIT
// A model's extras as the text people edit: a Modelfile, and its parameters alone. Pure.
#pragma once

#include <string>

#include "model/catalog.h"

namespace spillway {

// One line per value, the name padded to 30 columns, text in quotes. Empty without parameters.
std::string parameters_text(const nlohmann::ordered_json& parameters);

// `from`: what stands behind FROM.
std::string modelfile_text(const std::string& from, const ModelExtras& extras);

// Whether parameters may be stored: an object of numbers, booleans, strings, and arrays of strings.
//   InvalidArgument   names the one that is none of these
Result<void> check_parameters(const nlohmann::ordered_json& parameters);

}  // namespace spillway
