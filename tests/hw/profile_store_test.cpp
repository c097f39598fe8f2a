// SPDX-License-Identifier: MIT
#include "hw/profile_store.h"

#include <gmock/gmock.h>

#include "../os/temp_folder.h"
#include "hw/profile_json.h"
#include "os/file.h"
#include "sample_profile.h"

namespace spillway {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class ProfileStore : public testing::Test {
 protected:
  ProfileStore() { ::setenv("SPILLWAY_CACHE_DIR", folder_.at("cache").c_str(), 1); }
  ~ProfileStore() override { ::unsetenv("SPILLWAY_CACHE_DIR"); }

  static MachineIdentity here() {
    return {.cpu = "A; CPU",
            .n_threads = 8,
            .ram_bytes = 16 * GiB - 100 * MiB,
            .disk = "/home nvme0n1 S3R1AL",
            .ggml = "0.17.2 (abc)",
            .devices = {"Vulkan0 A GPU", "Vulkan1 B"}};
  }
  static MachineProfile profile_of(const MachineIdentity& identity, int64_t measured_unix_s) {
    MachineProfile profile = sample_profile();
    profile.fingerprint = fingerprint_of(identity);
    profile.measured_unix_s = measured_unix_s;
    return profile;
  }
  static void expect_unused(const MachineIdentity& now, Code code, const std::string& part) {
    const auto unused = load_profile(now, kThen);
    ASSERT_FALSE(unused);
    EXPECT_EQ(unused.error().code(), code) << unused.error().message();
    EXPECT_THAT(unused.error().message(), HasSubstr(part));
  }

  static constexpr int64_t kThen = 1'790'000'000;  // 2026-09-21
  TempFolder folder_;
};

TEST_F(ProfileStore, WhatWasKeptComesBackWhileItIsFresh) {
  EXPECT_EQ(load_profile(here(), kThen).error().code(), Code::kNotFound);
  ASSERT_TRUE(save_profile(here(), profile_of(here(), kThen)));
  const auto back = load_profile(here(), kThen + 29 * 24 * 3600);
  ASSERT_TRUE(back) << back.error().message();
  EXPECT_EQ(encode_profile(*back), encode_profile(profile_of(here(), kThen)));
}

TEST_F(ProfileStore, AnOldOneIsNotUsedAndItsDateIsSaid) {
  ASSERT_TRUE(save_profile(here(), profile_of(here(), kThen)));
  const auto old = load_profile(here(), kThen + 31 * 24 * 3600);
  ASSERT_FALSE(old);
  EXPECT_EQ(old.error().code(), Code::kChanged);
  EXPECT_THAT(old.error().message(), AllOf(HasSubstr("2026-09-21"), HasSubstr("older than 30 days")));
  EXPECT_THAT(load_profile(here(), kThen - 10 * 24 * 3600).error().message(), HasSubstr("still to come"));
}

TEST_F(ProfileStore, AnotherMachinesIsNotUsedAndWhatDiffersIsSaid) {
  ASSERT_TRUE(save_profile(here(), profile_of(here(), kThen)));
  MachineIdentity other = here();
  other.ggml = "0.18.0";
  expect_unused(other, Code::kChanged, "ggml: 0.17.2 (abc) then, 0.18.0 now");
  expect_unused(other, Code::kChanged, "does not fit this machine");
  other = here();
  other.cpu = "B";
  other.devices.clear();
  expect_unused(other, Code::kChanged, "cpu: A, CPU then, B now; devices: Vulkan0 A GPU, Vulkan1 B then, none now");
}

TEST_F(ProfileStore, MemoryThatTheKernelCountsALittleDifferentlyIsTheSame) {
  MachineIdentity rebooted = here();
  rebooted.ram_bytes -= 10 * MiB;
  EXPECT_EQ(fingerprint_of(rebooted), fingerprint_of(here()));
  rebooted.ram_bytes /= 2;
  EXPECT_NE(fingerprint_of(rebooted), fingerprint_of(here()));
}

TEST_F(ProfileStore, VolumesAndThreadsHaveTheirOwn) {
  MachineIdentity other_disk = here(), other_threads = here();
  other_disk.disk = "/mnt sda";
  other_threads.n_threads = 4;
  EXPECT_NE(profile_path(here()), profile_path(other_disk));
  EXPECT_NE(profile_path(here()), profile_path(other_threads));
  EXPECT_EQ(profile_path(here()), profile_path(here()));
}

TEST_F(ProfileStore, ADamagedFileIsNamedInOneLine) {
  ASSERT_TRUE(replace_file(profile_path(here()), "{\"format\": 1, \"cores\": -4}"));
  expect_unused(here(), Code::kCorrupt, profile_path(here()));
  expect_unused(here(), Code::kCorrupt, "cores is -4");
}

TEST_F(ProfileStore, AProfileThatSaysNotWhatItIsOfIsNotUsed) {
  MachineProfile unmarked = profile_of(here(), kThen);
  unmarked.fingerprint = "";
  ASSERT_TRUE(save_profile(here(), unmarked));
  expect_unused(here(), Code::kChanged, "nothing says what it is of");
}

TEST_F(ProfileStore, SerialNumbersStayAtHome) { EXPECT_THAT(fingerprint_of(here()), Not(HasSubstr("S3R1AL"))); }

}  // namespace
}  // namespace spillway
