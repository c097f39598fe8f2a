// SPDX-License-Identifier: MIT
// The projector that belongs to a model's file, where it stands beside it: as downloads from Hugging Face have them,
// "mmproj-F16.gguf" or "mmproj-NAME-F16.gguf" in the folder of NAME-Q4_K_M.gguf.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace spillway {

// Instead of a projector's path, where somebody wants none.
inline constexpr const char* kNoProjector = "none";

// Whether the file of this name, below the folder asked about, is a projector that sees.
using IsProjector = std::function<bool(const std::string& file_name)>;

// Of the names of one folder's files, the projector of `model`; empty: there is none, or it does not show whose it is.
// One that names a model belongs to that alone. One that names none belongs to the folder's model, where all others are
// that model too, in other quantizations or parts, or by their names no models. Of several it is the one in F16, then
// BF16, Q8_0, F32. Pure.
std::string projector_of(std::string_view model, std::vector<std::string> names, const IsProjector& is_projector);

// Whether the file's name says that it may be one: no header has to be read where none does.
bool is_named_projector(std::string_view file_name);

// The path of the projector beside the GGUF file at `path`; empty: none. Files are told by their headers.
std::string find_projector(const std::string& path);

}  // namespace spillway
