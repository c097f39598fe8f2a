// SPDX-License-Identifier: MIT
#include "os/folder.h"

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <vector>

#include "temp_folder.h"

namespace spillway {
namespace {

std::vector<std::string> names_of(const std::vector<std::filesystem::directory_entry>& entries) {
  std::vector<std::string> names;
  for (const auto& entry : entries) names.push_back(entry.path().filename());
  return names;
}

TEST(FolderEntries, AreAllOfTheFolderAndNothingBelowIt) {
  const TempFolder folder;
  folder.write(".hidden", "x");
  std::filesystem::create_directories(folder.at("below/deeper"));
  std::filesystem::create_symlink("nowhere", folder.at("link"));
  EXPECT_THAT(names_of(folder_entries(folder.path())), testing::UnorderedElementsAre(".hidden", "below", "link"));
}

TEST(MakePrivateFolder, IsForUsAloneOrNotAtAll) {
  const TempFolder folder;
  ASSERT_TRUE(make_private_folder(folder.at("ours/deeper")));
  EXPECT_EQ(std::filesystem::status(folder.at("ours/deeper")).permissions(), std::filesystem::perms(0700));
  std::filesystem::create_symlink(folder.at("ours"), folder.at("link"));
  EXPECT_TRUE(make_private_folder(folder.at("link"))) << "our own link to our own folder";
  if (::geteuid() != 0) GTEST_SKIP() << "only root gives folders away";
  constexpr uid_t kNobody = 65534;
  ASSERT_EQ(::lchown(folder.at("link").c_str(), kNobody, kNobody), 0);
  EXPECT_EQ(make_private_folder(folder.at("link")).error().code(), Code::kPermissionDenied);
  ASSERT_EQ(::chown(folder.at("ours").c_str(), kNobody, kNobody), 0);
  EXPECT_EQ(make_private_folder(folder.at("ours")).error().code(), Code::kPermissionDenied);
}

TEST(FolderEntries, OfWhatIsNoFolderAreNone) {
  const TempFolder folder;
  folder.write("file", "x");
  EXPECT_THAT(folder_entries(folder.at("file")), testing::IsEmpty());
  EXPECT_THAT(folder_entries(folder.at("missing")), testing::IsEmpty());
  EXPECT_THAT(folder_entries(""), testing::IsEmpty());
}

TEST(FolderLock, ThatAnotherOneHoldsIsNotWaitedForForEver) {
  const TempFolder folder;
  {
    const auto held = FolderLock::acquire(folder.path());
    ASSERT_TRUE(held);
    const auto second = FolderLock::acquire(folder.path(), 0);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code(), Code::kBusy);
    EXPECT_THAT(second.error().message(), testing::HasSubstr(folder.at(".lock")));
  }
  EXPECT_TRUE(FolderLock::acquire(folder.path(), 0));
}

// Who can read a file can lock it.
TEST(FolderLock, CanBeOpenedByItsOwnerAloneUnlessOthersMayWriteIt) {
  const TempFolder folder;
  const auto mode_after = [&](mode_t before) {
    std::filesystem::remove(folder.at(".lock"));
    if (before != 0) ::chmod(folder.write(".lock", "").c_str(), before);
    EXPECT_TRUE(FolderLock::acquire(folder.path(), 0));
    struct stat facts {};
    EXPECT_EQ(::stat(folder.at(".lock").c_str(), &facts), 0);
    return facts.st_mode & 07777;
  };
  EXPECT_EQ(mode_after(0), 0600u);
  EXPECT_EQ(mode_after(0644), 0600u) << "as it was made before";
  EXPECT_EQ(mode_after(0664), 0664u);
}

}  // namespace
}  // namespace spillway
