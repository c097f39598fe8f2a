// SPDX-License-Identifier: MIT
// Pieces that the reports of plans are made of. Pure.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "hw/machine_profile.h"
#include "model/gguf_model.h"

namespace spillway {

std::string row(const std::string& name, const std::string& value);  // one line of a table of two columns
std::string speed_text(double tok_per_s);                            // "12.3 tok/s"
std::string seconds_text(double s);                                  // "3.25 s", "14 s", "2.5 min"

// The types that a model's weights mostly have, of a tenth of the bytes and more, the largest first.
std::vector<std::string> main_types(const GgufModel& model);

// Which of a machine's figures a prediction for such weights rests on, and where they come from: "disk 2.9 GiB/s, q4_K
// 30.1 GiB/s; measured 2026-11-02 by 'spillway profile'".
std::string figures_text(const MachineProfile& machine, const std::vector<std::string>& types);
nlohmann::ordered_json figures_values(const MachineProfile& machine, const std::vector<std::string>& types);

}  // namespace spillway
