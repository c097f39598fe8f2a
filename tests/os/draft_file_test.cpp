// SPDX-License-Identifier: MIT
#include "os/draft_file.h"

#include <gmock/gmock.h>
#include <sys/mount.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <thread>
#include <vector>

#include "os/file.h"
#include "os/folder.h"
#include "temp_folder.h"

namespace spillway {
namespace {

using testing::HasSubstr;

DraftFile open_draft(const std::string& path) {
  auto draft = DraftFile::try_open(path);
  EXPECT_TRUE(draft) << draft.error().message();
  EXPECT_TRUE(draft->has_value());
  return std::move(**draft);
}

TEST(DraftFile, TakesItsFinalNameOnlyWhenPublished) {
  const TempFolder folder;
  DraftFile draft = open_draft(folder.at("new/folder/x-partial"));
  ASSERT_TRUE(draft.append("one "));
  ASSERT_TRUE(draft.append("two"));
  EXPECT_EQ(draft.size_bytes(), 7u);
  EXPECT_FALSE(std::filesystem::exists(folder.at("new/folder/x")));
  ASSERT_TRUE(draft.publish(folder.at("new/folder/x")));
  EXPECT_EQ(read_text_file(folder.at("new/folder/x")).value(), "one two");
  EXPECT_FALSE(std::filesystem::exists(folder.at("new/folder/x-partial")));
}

TEST(DraftFile, IsContinuedWhereItWasLeft) {
  const TempFolder folder;
  const std::string path = folder.at("x-partial");
  { ASSERT_TRUE(open_draft(path).append("one ")); }
  DraftFile draft = open_draft(path);
  EXPECT_EQ(draft.size_bytes(), 4u);
  ASSERT_TRUE(draft.append("two"));
  char buffer[16];
  EXPECT_EQ(draft.read_at(2, buffer).value(), 5u);
  EXPECT_EQ(std::string(buffer, 5), "e two");
  ASSERT_TRUE(draft.truncate(0));
  EXPECT_EQ(draft.size_bytes(), 0u);
  draft.discard();
  EXPECT_EQ(folder.entries(), 0u);
}

TEST(DraftFile, WhoeverWorksOnItShowsThatByItsTime) {
  const TempFolder folder;
  const DraftFile draft = open_draft(folder.at("x-partial"));
  const auto long_ago = std::filesystem::file_time_type::clock::now() - std::chrono::hours(1);
  std::filesystem::last_write_time(draft.path(), long_ago);
  draft.touch();
  EXPECT_GT(std::filesystem::last_write_time(draft.path()), long_ago + std::chrono::minutes(59));
}

TEST(DraftFile, HasOneWriterAtATime) {
  const TempFolder folder;
  const std::string path = folder.at("x-partial");
  {
    const DraftFile draft = open_draft(path);
    EXPECT_FALSE(DraftFile::try_open(path).value().has_value());
  }
  DraftFile draft = open_draft(path);
  ASSERT_TRUE(draft.publish(folder.at("x")));
  EXPECT_EQ(open_draft(path).size_bytes(), 0u) << "a new one, not the one that has its name";
}

TEST(DraftFile, AFolderThatCanNotBeMadeIsAnError) {
  const TempFolder folder;
  folder.write("file", "");
  const auto draft = DraftFile::try_open(folder.at("file/x"));
  ASSERT_FALSE(draft);
  EXPECT_EQ(draft.error().code(), Code::kIo);
}

TEST(DraftFile, AFullDiskSaysSo) {
  const TempFolder folder;
  const std::string disk = folder.at("disk");
  std::filesystem::create_directories(disk);
  if (::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=64k") != 0) GTEST_SKIP() << "needs root to mount a small disk";
  {
    DraftFile draft = open_draft(disk + "/x-partial");
    const auto outcome = draft.append(std::string(1 << 20, 'x'));
    EXPECT_FALSE(outcome);
    if (!outcome) {
      EXPECT_EQ(outcome.error().code(), Code::kDiskFull);
      EXPECT_THAT(outcome.error().message(), HasSubstr("No space left"));
    }
    const auto replaced = replace_file(disk + "/y", std::string(1 << 20, 'x'));
    EXPECT_FALSE(replaced);
    EXPECT_EQ(replaced ? Code::kInternal : replaced.error().code(), Code::kDiskFull);
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(disk), {}), 1);
    draft.discard();
    EXPECT_TRUE(std::filesystem::is_empty(disk));
  }
  ::umount2(disk.c_str(), MNT_DETACH);
}

TEST(FolderLock, IsHeldByOneThreadAtATime) {
  const TempFolder folder;
  std::atomic<int> inside{0}, most{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        const auto lock = FolderLock::acquire(folder.at("store"));
        ASSERT_TRUE(lock) << lock.error().message();
        const int now = ++inside;
        if (now > most) most = now;
        --inside;
      }
    });
  for (auto& one : threads) one.join();
  EXPECT_EQ(most, 1);
}

TEST(Folder, FreeSpaceIsToldAlsoOfAFolderThatIsNotMadeYet) {
  const TempFolder folder;
  EXPECT_GT(disk_bytes_free(folder.at("not/made/yet")).value(), 0u);
  EXPECT_FALSE(std::filesystem::exists(folder.at("not")));
}

TEST(Folder, ALinkIsTheSameFile) {
  const TempFolder folder;
  folder.write("a", "x");
  EXPECT_TRUE(try_hard_link(folder.at("a"), folder.at("b")));
  EXPECT_EQ(identify_file(folder.at("a")).value(), identify_file(folder.at("b")).value());
  EXPECT_FALSE(try_hard_link(folder.at("absent"), folder.at("c")));
}

}  // namespace
}  // namespace spillway
