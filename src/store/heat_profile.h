// SPDX-License-Identifier: MIT
// Which experts were used how much in earlier runs of the same model: the next run starts with them in memory. A guess
// that saves reads and nothing more; a profile that is missing, damaged or of another model is ignored.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"

namespace spillway {

// `model_key` names the model and its extents; a profile is only used under the same key.
std::string encode_heat(const std::string& model_key, std::span<const double> heat);

// nullopt unless `text` is whole, of this key and of `n_extents` values, all finite and not negative.
std::optional<std::vector<double>> decode_heat(std::string_view text, const std::string& model_key, size_t n_extents);

// In the user's cache folder, never beside the model; replaced as a whole. Without a cache folder nothing is kept.
std::optional<std::vector<double>> load_heat(const std::string& model_key, size_t n_extents);
Result<void> save_heat(const std::string& model_key, std::span<const double> heat);

}  // namespace spillway
