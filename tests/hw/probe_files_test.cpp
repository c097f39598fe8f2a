// SPDX-License-Identifier: MIT
#include "hw/probe_files.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "../os/temp_folder.h"
#include "base/bytes.h"

namespace spillway {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

TEST(ProbeFiles, AreTheLargestFirstUntilThereIsEnough) {
  const TempFolder folder;
  std::filesystem::create_directories(folder.at("a/b"));
  folder.write("a/b/large", random_bytes(9 * MiB, 1));
  folder.write("a/middle", random_bytes(6 * MiB, 2));
  folder.write("least", random_bytes(5 * MiB, 3));
  folder.write("small", "too small to count");
  std::filesystem::create_symlink(folder.at("a/b/large"), folder.at("link"));
  const auto all = find_probe_files({folder.path(), folder.at("a")}, 1 * MiB, 1 * GiB);
  ASSERT_TRUE(all) << all.error().message();
  ASSERT_THAT(all->files, SizeIs(3));
  EXPECT_EQ(all->files[0]->path(), folder.at("a/b/large"));
  EXPECT_EQ(all->files[2]->path(), folder.at("least"));
  EXPECT_FALSE(all->volume.mount_point.empty());
  EXPECT_THAT(find_probe_files({folder.path()}, 1 * MiB, 10 * MiB)->files, SizeIs(2));
}

TEST(ProbeFiles, StayOnTheVolumeThatIsAskedFor) {
  const TempFolder folder;
  folder.write("file", random_bytes(5 * MiB, 1));
  const auto here = volume_of(folder.path());
  ASSERT_TRUE(here);
  EXPECT_TRUE(find_probe_files({folder.path()}, 1 * MiB, 1 * GiB, *here));
  EXPECT_FALSE(find_probe_files({folder.path()}, 1 * MiB, 1 * GiB, Volume{"/elsewhere", "another"}));
}

TEST(ProbeFiles, NothingSuitableIsAnErrorThatSaysWhatToDo) {
  const TempFolder folder;
  folder.write("file", random_bytes(5 * MiB, 1));
  for (const std::string& where : {folder.at("none"), folder.path()}) {
    const auto none = find_probe_files({where}, 20 * MiB, 1 * GiB);
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code(), Code::kNotFound);
    EXPECT_THAT(none.error().message(), HasSubstr("name a model"));
  }
}

}  // namespace
}  // namespace spillway
