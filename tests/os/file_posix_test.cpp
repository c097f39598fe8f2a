// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "base/bytes.h"
#include "os/file.h"
#include "temp_folder.h"

namespace spillway {
namespace {

using testing::HasSubstr;

std::string read_all(const File& file) {
  std::string data(file.size_bytes() + 100, '?');
  const Result<uint64_t> bytes = file.read_at(0, std::as_writable_bytes(std::span(data)));
  EXPECT_TRUE(bytes);
  data.resize(bytes.value_or(0));
  return data;
}

// Puts the file's time of change an hour back, so that a change within the clock's tick is seen too.
void make_older(const std::string& path) {
  std::filesystem::last_write_time(path, std::filesystem::last_write_time(path) - std::chrono::hours(1));
}

Code code_of_open(const std::string& path) {
  const auto file = open_file(path);
  EXPECT_FALSE(file);
  EXPECT_THAT(file.error().message(), HasSubstr(path));
  return file.error().code();
}

TEST(OpenFile, AMissingFileIsNotFound) {
  TempFolder folder;
  EXPECT_EQ(code_of_open(folder.at("none.gguf")), Code::kNotFound);
  EXPECT_EQ(code_of_open(folder.at("none/none.gguf")), Code::kNotFound);
  EXPECT_EQ(code_of_open(folder.write("a", "x") + "/b"), Code::kNotFound);
}

TEST(OpenFile, ADirectoryIsAnInvalidArgument) {
  TempFolder folder;
  EXPECT_EQ(code_of_open(folder.path()), Code::kInvalidArgument);
}

TEST(OpenFile, ADeviceOrANamedPipeIsAnInvalidArgumentAndIsNotWaitedFor) {
  TempFolder folder;
  ASSERT_EQ(::mkfifo(folder.at("pipe").c_str(), 0600), 0);
  EXPECT_EQ(code_of_open(folder.at("pipe")), Code::kInvalidArgument);
  EXPECT_EQ(code_of_open("/dev/null"), Code::kInvalidArgument);
}

TEST(OpenFile, AFileOfAnotherUserIsPermissionDenied) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may read everything";
  TempFolder folder;
  const std::string path = folder.write("secret", "x");
  std::filesystem::permissions(path, std::filesystem::perms::none);
  EXPECT_EQ(code_of_open(path), Code::kPermissionDenied);
}

TEST(OpenFile, NeitherDescriptorFailsReadsThatWouldBlock) {
  TempFolder folder;
  const auto file = open_file(folder.write("a", "content")).value();
  EXPECT_EQ(::fcntl(file->read_fd(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_EQ(::fcntl(file->map_fd(), F_GETFL) & O_NONBLOCK, 0);
}

TEST(OpenFile, WithoutDirectBothDescriptorsAreOne) {
  TempFolder folder;
  const auto file = open_file(folder.write("a", "content"), {.direct = false}).value();
  EXPECT_FALSE(file->is_direct());
  EXPECT_EQ(file->read_fd(), file->map_fd());
  EXPECT_EQ(read_all(*file), "content");
}

TEST(OpenFile, AnEmptyFileOpens) {
  TempFolder folder;
  const auto file = open_file(folder.write("empty", "")).value();
  EXPECT_EQ(file->size_bytes(), 0u);
  EXPECT_EQ(read_all(*file), "");
}

TEST(ReadAt, ReadsAnyRangeAndStopsAtTheEnd) {
  TRACE_SEED();
  TempFolder folder;
  const std::string content = random_bytes(3 * kPageBytes + 77, test_seed());
  const auto file = open_file(folder.write("a", content)).value();
  EXPECT_EQ(file->size_bytes(), content.size());
  std::mt19937_64 random(test_seed());
  for (int round = 0; round < 200; ++round) {
    const uint64_t offset = random() % (content.size() + 1000);
    std::string data(random() % 9000, '?');
    const uint64_t bytes = file->read_at(offset, std::as_writable_bytes(std::span(data))).value();
    const std::string expected = offset < content.size() ? content.substr(offset, data.size()) : "";
    ASSERT_EQ(bytes, expected.size());
    EXPECT_EQ(data.substr(0, bytes), expected);
  }
}

TEST(CheckUnchanged, AnUntouchedFileIsUnchanged) {
  TempFolder folder;
  const auto file = open_file(folder.write("a", "content")).value();
  EXPECT_TRUE(file->check_unchanged());
}

class ChangedFile : public testing::Test {
 protected:
  ChangedFile() {
    make_older(path_);
    file_ = open_file(path_).value();
    EXPECT_TRUE(file_->check_unchanged());
  }
  void expect_changed(const std::string& how) {
    const Result<void> result = file_->check_unchanged();
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code(), Code::kChanged);
    EXPECT_THAT(result.error().message(), HasSubstr(how));
  }
  // Its path leads elsewhere; the bytes are as they were.
  void expect_elsewhere() {
    EXPECT_TRUE(file_->check_unchanged());
    const Result<void> result = file_->check_in_place();
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code(), Code::kChanged);
    EXPECT_THAT(result.error().message(), HasSubstr("replaced"));
  }

  TempFolder folder_;
  const std::string path_ = folder_.write("model.gguf", std::string(10000, 'a'));
  std::unique_ptr<File> file_;
};

TEST_F(ChangedFile, AShrunkFileIsSeen) {
  std::filesystem::resize_file(path_, 5000);
  expect_changed("changed");
}

TEST_F(ChangedFile, AnOverwrittenFileIsSeen) {
  folder_.write("model.gguf", std::string(10000, 'b'));
  expect_changed("changed");
}

TEST_F(ChangedFile, AReplacedFileIsSeenAndTheOldBytesStayReadable) {
  std::filesystem::rename(folder_.write("new", std::string(10000, 'b')), path_);
  expect_elsewhere();
  EXPECT_EQ(read_all(*file_), std::string(10000, 'a'));
}

TEST_F(ChangedFile, ADeletedFileIsSeenAndItsBytesStayReadable) {
  std::filesystem::remove(path_);
  expect_elsewhere();
  EXPECT_EQ(read_all(*file_), std::string(10000, 'a'));
}

// As cp -p, tar and rsync -t write them.
TEST(IdentityKey, IsAnotherForOtherContentOfTheSameSizeAndDate) {
  TempFolder folder;
  const std::string path = folder.write("a", "one");
  const auto date = std::filesystem::last_write_time(path);
  const FileIdentity before = identify_file(path).value();
  EXPECT_EQ(identity_key(identify_file(path).value()), identity_key(before));
  FileIdentity after;
  do {  // until the file system's clock has gone on
    std::ofstream(path) << "two";
    std::filesystem::last_write_time(path, date);
    after = identify_file(path).value();
  } while (after.touched_ns == before.touched_ns);
  EXPECT_EQ(after, before) << "nothing else tells them apart";
  EXPECT_NE(identity_key(after), identity_key(before));
}

TEST(ReplaceFile, MakesTheFolderAndLeavesNoDraft) {
  TempFolder folder;
  const std::string path = folder.at("new");
  ASSERT_TRUE(replace_file(path + "/profile.json", "one"));
  ASSERT_TRUE(replace_file(path + "/profile.json", "two"));
  EXPECT_EQ(read_text_file(path + "/profile.json").value(), "two");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(path), {}), 1);
}

TEST(ReplaceFile, DraftsOfKilledProcessesGoAndNothingElse) {
  TempFolder folder;
  const std::string path = folder.at("a.json");
  const auto old = [&](const std::string& name) {
    std::filesystem::last_write_time(folder.write(name, "half"),
                                     std::filesystem::file_time_type::clock::now() - std::chrono::hours(2));
  };
  for (const char* name : {"a.json.123.0.tmp", "a.json.9.12.tmp"}) old(name);
  for (const char* name : {"b.json.123.0.tmp", "a.json.backup.tmp", "a.json.1.tmp.old", "a.json.tmp", "a.json.1.2"})
    old(name);
  folder.write("a.json.77.1.tmp", "of somebody who writes now");
  ASSERT_TRUE(replace_file(path, "whole"));
  EXPECT_EQ(read_text_file(path).value(), "whole");
  for (const char* name : {"a.json.123.0.tmp", "a.json.9.12.tmp"})
    EXPECT_FALSE(std::filesystem::exists(folder.at(name))) << name;
  EXPECT_EQ(folder.entries(), 7u) << "whole, one that is young, five of other names";
}

TEST(ReplaceFile, AFailureLeavesNoDraftAndTheOldContent) {
  TempFolder folder;
  std::filesystem::create_directory(folder.at("target"));
  folder.write("target/inside", "kept");  // a folder cannot be replaced by a file
  const Result<void> result = replace_file(folder.at("target"), "content");
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), Code::kIo);
  EXPECT_EQ(folder.entries(), 1u);
  EXPECT_EQ(read_text_file(folder.at("target/inside")).value(), "kept");
}

TEST(ReplaceFile, AFolderThatMayNotBeWrittenIsPermissionDenied) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
  TempFolder folder;
  std::filesystem::permissions(folder.path(), std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
  EXPECT_EQ(replace_file(folder.at("a"), "x").error().code(), Code::kPermissionDenied);
  EXPECT_EQ(replace_file(folder.at("b/a"), "x").error().code(), Code::kPermissionDenied);
}

// Drafts have numbers, of which a failure tells the last one.
TEST(ReplaceFile, ALinkWhereADraftWouldBeIsNotFollowed) {
  TempFolder folder;
  const std::string victim = folder.write("victim", "precious"), path = folder.at("profile.json");
  const std::string why = replace_file(folder.at(std::string(250, 'n')), "x").error().message();
  const std::string behind = fmt::format(".{}.", ::getpid());
  const int last = std::stoi(why.substr(why.find(behind) + behind.size()));
  for (int i = 1; i <= 3; ++i)
    std::filesystem::create_symlink(victim, fmt::format("{}{}{}.tmp", path, behind, last + i));
  ASSERT_TRUE(replace_file(path, "content"));
  EXPECT_EQ(read_text_file(path).value(), "content");
  EXPECT_EQ(read_text_file(victim).value(), "precious");
}

TEST(ReplaceFile, AReaderSeesOneOfTheContentsWholeWhoeverWrites) {
  TempFolder folder;
  const std::string path = folder.at("profile.json");
  const auto content = [](int writer) {
    return std::string(50000 + static_cast<size_t>(writer), static_cast<char>('a' + writer));
  };
  ASSERT_TRUE(replace_file(path, content(0)));
  std::atomic<int> writers_left{3};
  std::vector<std::thread> writers;
  for (int writer = 0; writer < 3; ++writer) {
    writers.emplace_back([&, writer] {
      for (int i = 0; i < 30; ++i) EXPECT_TRUE(replace_file(path, content(writer)));
      --writers_left;
    });
  }
  while (writers_left > 0) {
    const std::string seen = read_text_file(path).value();
    ASSERT_EQ(seen, content(seen.at(0) - 'a'));
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(folder.entries(), 1u);
}

TEST(ReadTextFile, TellsItsFailuresApart) {
  TempFolder folder;
  EXPECT_EQ(read_text_file(folder.at("none")).error().code(), Code::kNotFound);
  EXPECT_EQ(read_text_file(folder.path()).error().code(), Code::kIo);
  const std::string path = folder.write("a", std::string(50000, 'a'));
  EXPECT_EQ(read_text_file(path, 49999).error().code(), Code::kInvalidArgument);
  EXPECT_EQ(read_text_file(path, 50000).value().size(), 50000u);
}

TEST(ReadTextFile, WaitsForNoPipeAndReadsNoDevice) {
  TempFolder folder;
  ASSERT_EQ(::mkfifo(folder.at("pipe").c_str(), 0600), 0);
  EXPECT_EQ(read_text_file(folder.at("pipe")).error().code(), Code::kInvalidArgument);
  EXPECT_EQ(read_text_file("/dev/zero").error().code(), Code::kInvalidArgument);
  EXPECT_EQ(text_or_empty(folder.at("pipe")), "");
  EXPECT_FALSE(text_or_empty("/proc/self/status").empty());
}

}  // namespace
}  // namespace spillway
