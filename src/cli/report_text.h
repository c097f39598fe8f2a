// SPDX-License-Identifier: MIT
// Pieces that reports are made of. Pure.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "hw/machine_profile.h"
#include "model/gguf_model.h"

namespace spillway {

std::string row(const std::string& name, const std::string& value);  // one line of a table of two columns
std::string speed_text(double tok_per_s);                            // "12.3 tok/s"
std::string seconds_text(double s);                                  // "3.25 s", "14 s", "2.5 min"

// A figure that may not have been measured: "2.71 tok/s", "41.0 %", "3.2 GiB/s"; "-", or null, where it was not.
std::string figure_text(const std::optional<double>& value, const char* unit = "", int decimals = 2);
std::string percent_text(const std::optional<double>& fraction);
std::string bytes_text(const std::optional<double>& bytes, const char* unit = "");
template <typename T>
nlohmann::ordered_json nullable(const std::optional<T>& value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
}

// The types that a model's weights mostly have, of a tenth of the bytes and more, the largest first.
std::vector<std::string> main_types(const GgufModel& model);

// Which of a machine's figures a prediction for such weights rests on, and where they come from: "disk 2.9 GiB/s, q4_K
// 30.1 GiB/s; measured 2026-11-02 by 'spillway profile'".
std::string figures_text(const MachineProfile& machine, const std::vector<std::string>& types);
nlohmann::ordered_json figures_values(const MachineProfile& machine, const std::vector<std::string>& types);

// A machine with these figures, as the JSON of plans names it.
nlohmann::ordered_json machine_values(const MachineProfile& machine, const std::vector<std::string>& types);

}  // namespace spillway
