// SPDX-License-Identifier: MIT
// A machine profile as text: what `spillway profile --json` prints, what its cache holds, and what `--profile FILE`
// reads. JSON with one field per member of MachineProfile, rates in units per second, sizes in bytes; "format" names
// the version.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"
#include "hw/machine_profile.h"

namespace spillway {

inline constexpr int kProfileFormat = 1;

// Indented, ends with a newline; reads back equal. What is no UTF-8 in a name, or a control character, is replaced.
std::string encode_profile(const MachineProfile& profile);

// Fields that are absent keep their defaults ("not measured", zero), except for those without which the rest means
// nothing: "format", the names of devices, workers and types. Every figure that is there must be possible.
//   Corrupt       no JSON, a field nobody knows or of the wrong type, a figure out of range; the message names the
//   field Unsupported   written in a later format
Result<MachineProfile> decode_profile(std::string_view text);

// decode_profile of a file; its path stands in front of every message.
//   as decode_profile and read_text_file
Result<MachineProfile> read_profile(const std::string& path);

}  // namespace spillway
