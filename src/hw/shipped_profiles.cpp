// SPDX-License-Identifier: MIT
#include "hw/shipped_profiles.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "hw/profile_json.h"

namespace spillway {

// Written by CMakeLists.txt from profiles/*.json.
struct ShippedProfile {
  const char* name;
  const char* json;
};
extern const ShippedProfile kShippedProfiles[];
extern const size_t kShippedProfileCount;

std::vector<std::string> shipped_profile_names() {
  std::vector<std::string> names;
  for (size_t i = 0; i < kShippedProfileCount; ++i) names.emplace_back(kShippedProfiles[i].name);
  return names;
}

Result<MachineProfile> shipped_profile(std::string_view name) {
  for (size_t i = 0; i < kShippedProfileCount; ++i)
    if (name == kShippedProfiles[i].name) return decode_profile(kShippedProfiles[i].json);
  return error(Code::kNotFound, fmt::format("'{}' is no file and no profile that is shipped; those are {}", name,
                                            fmt::join(shipped_profile_names(), ", ")));
}

}  // namespace spillway
