// SPDX-License-Identifier: MIT
#include "hw/profile_store.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include "base/hash.h"
#include "hw/profile_json.h"
#include "os/file.h"
#include "os/machine.h"

namespace spillway {
namespace {

constexpr int64_t kDay_s = int64_t{24} * 3600;

// Clocks of one machine that dual-boots or was set right differ by hours.
constexpr int64_t kClockSlack_s = kDay_s;

}  // namespace

std::string date_of(int64_t unix_s) {
  return fmt::format("{:%Y-%m-%d}", fmt::gmtime(static_cast<std::time_t>(unix_s)));
}

std::string profile_path(const MachineIdentity& identity) {
  const std::string folder = cache_folder();
  if (folder.empty()) return {};
  const std::string key = fmt::format("{}\n{}", identity.disk, identity.n_threads);
  Fnv1a hash;
  hash.add(key.data(), key.size());
  return fmt::format("{}/profile/{:016x}.json", folder, hash.value());
}

Result<MachineProfile> load_profile(const MachineIdentity& identity, int64_t now_unix_s) {
  const std::string path = profile_path(identity);
  if (path.empty()) return error(Code::kNotFound, "there is no cache folder for a machine profile");
  ASSIGN_OR_RETURN(MachineProfile profile, read_profile(path));
  const std::string date = date_of(profile.measured_unix_s);
  if (const std::string what = fingerprint_difference(profile.fingerprint, fingerprint_of(identity)); !what.empty())
    return error(Code::kChanged,
                 fmt::format("{}: the machine profile of {} does not fit this machine ({})", path, date, what));
  const int64_t age_s = now_unix_s - profile.measured_unix_s;
  if (age_s < -kClockSlack_s)
    return error(Code::kChanged, fmt::format("{}: the machine profile is of {}, which is still to come", path, date));
  if (age_s > kProfileAgeMax_s)
    return error(Code::kChanged, fmt::format("{}: the machine profile of {} is older than {} days", path, date,
                                             kProfileAgeMax_s / kDay_s));
  return profile;
}

Result<void> save_profile(const MachineIdentity& identity, const MachineProfile& profile) {
  const std::string path = profile_path(identity);
  if (path.empty()) return {};
  return replace_file(path, encode_profile(profile));
}

}  // namespace spillway
