// SPDX-License-Identifier: MIT
// A model's extras as the text people edit: a Modelfile, and its parameters alone. Pure.
#pragma once

#include <string>
#include <string_view>

#include "model/catalog.h"

namespace spillway {

// One line per value, the name padded to 30 columns, text in quotes. Empty without parameters.
std::string parameters_text(const nlohmann::ordered_json& parameters);

// `from`: what stands behind FROM. parse_modelfile() reads it back, but for a text that holds a line which ends in
// three quotes.
std::string modelfile_text(const std::string& from, const ModelExtras& extras);

// What a Modelfile asks for. `from` is as written: the name of a model, or a path, perhaps from the file's own folder;
// so are adapters, which are always paths.
// Instructions in any case, values on one line, or between quotes, or between three of them over several lines. Values
// of parameters are numbers (also as Go writes them: .5, +1) and booleans where they look like it; `stop` may come
// again and again. A byte order mark in front is passed over.
//   InvalidArgument   no instruction, no value, no end of quotes, no FROM, more than 1,000 parameters; the
//                     message names the line
//   Unsupported       a second FROM
Result<CreateRequest> parse_modelfile(std::string_view text);

// The template that came with a model besides its file's; empty: none. Beside a RENDERER, which is code of Ollama's,
// TEMPLATE is a stand-in that says nothing.
std::string given_template(const ModelExtras& extras);

// A parameter as text, with its type.
nlohmann::ordered_json parameter_value(std::string_view name, const std::string& text);

// Adds one: `stop` is a list, another name is said once, and the last one counts.
void add_parameter(nlohmann::ordered_json& parameters, const std::string& name, const std::string& text);

// Whether parameters may be stored: an object of at most 1,000 numbers, booleans, strings, and arrays of strings.
//   InvalidArgument   names the one that is none of these
Result<void> check_parameters(const nlohmann::ordered_json& parameters);

// Those of a model that somebody else made: what may be stored. One that is none leaves the others as they are.
nlohmann::ordered_json usable_parameters(const nlohmann::ordered_json& stored);

}  // namespace spillway
