// SPDX-License-Identifier: MIT
// Completion scripts for shells, generated from the verbs and options that are declared. Pure.
//
// What to offer behind an option follows from its type name: "a|b|c" these words, FILE in it a file, else nothing. A
// positional MODEL is a GGUF file or the name of a model, NAME a name; the names are asked of 'spillway list --names'.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace spillway {

enum class Shell { kBash, kZsh, kFish };

std::string completion_script(const CLI::App& app, Shell shell);

}  // namespace spillway
