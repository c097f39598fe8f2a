// SPDX-License-Identifier: MIT
// Manual pages, generated from the verbs and options that are declared. Pure.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace spillway {

// The verbs that have a page of their own: spillway-VERB(1).
std::vector<std::string> manual_verbs(const CLI::App& app);

// roff for man(1): of the program itself, or of a verb of manual_verbs().
std::string manual_page(const CLI::App& app, const std::string& version);
std::string manual_page(const CLI::App& app, const std::string& verb, const std::string& version);

}  // namespace spillway
