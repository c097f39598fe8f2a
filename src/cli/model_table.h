// SPDX-License-Identifier: MIT
// Models as people and programs read them. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/catalog.h"

namespace spillway {

// Lines, without a newline behind the last. `now_ns`: what "2 days ago" is counted from.
std::string models_table(const std::vector<ModelEntry>& models, int64_t now_ns);
std::string models_json(const std::vector<ModelEntry>& models);

std::string description_text(const ModelDescription& model);
std::string description_json(const ModelDescription& model);

// "just now", "5 minutes ago", "yesterday", "3 weeks ago".
std::string time_ago(int64_t then_ns, int64_t now_ns);

// "2026-11-21T05:24:56Z"
std::string utc_text(int64_t since_1970_ns);

}  // namespace spillway
