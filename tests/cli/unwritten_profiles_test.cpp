// SPDX-License-Identifier: MIT
#include "cli/unwritten_profiles.h"

#include <gtest/gtest.h>

#include "hw/profile_store.h"

namespace spillway {
namespace {

MachineProfile named(const char* name) {
  MachineProfile profile;
  profile.name = name;
  profile.measured_unix_s = 1000;
  return profile;
}

TEST(UnwrittenProfiles, WhatWasMeasuredIsFoundAgainForThatMachineAndAsLongAsAFileWouldBe) {
  MachineIdentity here;
  here.disk = "/ sda";
  MachineIdentity other_disk = here;
  other_disk.disk = "/mnt sdb";
  UnwrittenProfiles profiles;
  EXPECT_FALSE(profiles.find(here, 1000));
  profiles.keep(here, named("first"));
  profiles.keep(here, named("with a worker"));
  const auto found = profiles.find(here, 1001);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->name, "with a worker");
  EXPECT_FALSE(profiles.find(other_disk, 1001));
  EXPECT_FALSE(profiles.find(here, 1001 + kProfileAgeMax_s));
}

}  // namespace
}  // namespace spillway
