// SPDX-License-Identifier: MIT
#include "os/folder.h"

#include <gmock/gmock.h>

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

TEST(FolderEntries, OfWhatIsNoFolderAreNone) {
  const TempFolder folder;
  folder.write("file", "x");
  EXPECT_THAT(folder_entries(folder.at("file")), testing::IsEmpty());
  EXPECT_THAT(folder_entries(folder.at("missing")), testing::IsEmpty());
  EXPECT_THAT(folder_entries(""), testing::IsEmpty());
}

}  // namespace
}  // namespace spillway
