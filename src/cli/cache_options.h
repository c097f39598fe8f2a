// SPDX-License-Identifier: MIT
// Options that say how a context keeps keys and values, for every verb that makes or plans one.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "plan/cache_format.h"

namespace spillway {

// Writes into `format` while `app` parses; it must outlive that. `group` of the help; empty: the app's own.
void declare_cache_options(CLI::App& app, CacheFormat& format, const std::string& group = "");

}  // namespace spillway
