// SPDX-License-Identifier: MIT
#include "hw/shipped_profiles.h"

#include <gmock/gmock.h>

namespace spillway {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

TEST(ShippedProfiles, EachCanBeReadNamesItsSourceAndSaysWhatItDoubts) {
  ASSERT_GE(shipped_profile_names().size(), 8u);
  for (const std::string& name : shipped_profile_names()) {
    SCOPED_TRACE(name);
    const auto profile = shipped_profile(name);
    ASSERT_TRUE(profile) << profile.error().message();
    EXPECT_EQ(profile->name, name);
    EXPECT_THAT(profile->source, HasSubstr("stimated"));
    EXPECT_THAT(profile->doubts, Not(IsEmpty()));
    EXPECT_GT(profile->ram_bytes_total, 0u);
    EXPECT_GT(profile->ram_bytes_per_s, 0);
    EXPECT_THAT(profile->matmul, Not(IsEmpty()));
    ASSERT_THAT(profile->disks, Not(IsEmpty()));
    EXPECT_GT(profile->disks[0].sequential_bytes_per_s, 0);
    for (const DeviceFacts& device : profile->devices) EXPECT_THAT(device.matmul, Not(IsEmpty()));
  }
}

TEST(ShippedProfiles, AnUnknownNameListsThoseThereAre) {
  const auto none = shipped_profile("m9-ultra");
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().message(), HasSubstr("m1-max-32gb"));
  EXPECT_THAT(shipped_profile_names(), Contains("m3-ultra-512gb-x2"));
}

}  // namespace
}  // namespace spillway
