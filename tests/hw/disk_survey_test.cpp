// SPDX-License-Identifier: MIT
#include "hw/disk_survey.h"

#include <gmock/gmock.h>

#include <cmath>
#include <map>

#include "../os/temp_folder.h"
#include "base/bytes.h"
#include "os/file_sim.h"

namespace spillway {
namespace {

using testing::AnyOf;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// On the simulated disk, where every read is seen.
class DiskSurveyTest : public testing::Test {
 protected:
  DiskSurveyOptions options() {
    DiskSurveyOptions options;
    options.seed = test_seed();
    options.open_queue = [this](unsigned depth) -> Result<std::unique_ptr<IoQueue>> { return disk_.open_queue(depth); };
    return options;
  }

  // By a simulated clock.
  DiskSurveyOptions options_timed() {
    DiskSurveyOptions timed = options();
    timed.now_s = [this] { return now_s_; };
    disk_.options().before_read = [this](const ReadRequest& request) { now_s_ += request.bytes / bytes_per_s_; };
    return timed;
  }

  double now_s_ = 0, bytes_per_s_ = 0;
  std::map<const File*, std::map<uint64_t, int>> reads_of_page_;  // by file and page
  SimDisk disk_{{.before_read = [this](const ReadRequest& request) {
    for (uint64_t page = 0; page < request.bytes; page += kPageBytes)
      ++reads_of_page_[request.file][request.offset + page];
  }}};
};

TEST_F(DiskSurveyTest, NoPageIsReadTwice) {
  TRACE_SEED();
  const auto one = disk_.make_file(40 * MiB + 4097), other = disk_.make_file(25 * MiB);
  const std::vector<const File*> files = {one.get(), other.get()};
  const auto survey = survey_disk(files, options());
  ASSERT_TRUE(survey) << survey.error().message();
  EXPECT_EQ(reads_of_page_.size(), 2u);
  for (const auto& [file, pages] : reads_of_page_) {
    for (const auto& [page, n] : pages) EXPECT_EQ(n, 1) << file->path() << " " << page;
    EXPECT_LE(pages.rbegin()->first + kPageBytes, file->size_bytes());
  }
  EXPECT_GT(survey->facts.sequential_bytes_per_s, 0);
  EXPECT_GT(survey->facts.scattered_bytes_per_s, 0);
  EXPECT_THAT(survey->facts.depth, AnyOf(8u, 16u, 32u));
  EXPECT_EQ(survey->facts.read_bytes % kPageBytes, 0u);
  EXPECT_TRUE(survey->facts.direct);
  EXPECT_THAT(survey->doubts, Not(Contains(HasSubstr("empty"))));
}

TEST_F(DiskSurveyTest, ProgressOnlyGrowsAndCanStopIt) {
  const auto file = disk_.make_file(64 * MiB);
  const std::vector<const File*> files = {file.get()};
  auto watched = options();
  double last = 0;
  watched.progress = [&](double fraction) {
    EXPECT_GT(fraction, last);
    EXPECT_LE(fraction, 1);
    last = fraction;
    return true;
  };
  ASSERT_TRUE(survey_disk(files, watched));
  EXPECT_EQ(last, 1);
  watched.progress = [](double) { return false; };
  EXPECT_EQ(survey_disk(files, watched).error().code(), Code::kCancelled);
}

// The same file over and over: what matters is how much of it there seems to be.
TEST_F(DiskSurveyTest, ALargeModelOnASlowDiskTakesNoLongerThanASmallOne) {
  const auto file = disk_.make_file(50 * MiB);
  bytes_per_s_ = 20e6;
  for (const size_t n : {size_t{1}, size_t{800}, size_t{8000}}) {
    const std::vector<const File*> files(n, file.get());
    const double began_s = now_s_;
    const auto survey = survey_disk(files, options_timed());
    ASSERT_TRUE(survey) << survey.error().message();
    EXPECT_NEAR(survey->facts.scattered_bytes_per_s, 20e6, 2e5) << n;
    EXPECT_NEAR(survey->facts.sequential_bytes_per_s, 20e6, 2e5) << n;
    EXPECT_LT(now_s_ - began_s, 3) << n;
  }
}

TEST_F(DiskSurveyTest, ADiskThatGetsSlowerIsGivenUpInItsTries) {
  const auto file = disk_.make_file(50 * MiB);
  const std::vector<const File*> files(200, file.get());
  auto spent = options_timed();
  disk_.options().before_read = [this](const ReadRequest& request) {
    now_s_ += request.bytes / (disk_.bytes_read() < 600 * MiB ? 1e9 : 20e6);
  };
  const auto survey = survey_disk(files, spent);
  ASSERT_TRUE(survey) << survey.error().message();
  EXPECT_LT(now_s_, 15);  // 29 with all of their bytes
  EXPECT_THAT(survey->doubts, Contains(HasSubstr("two passes differ")));
}

TEST_F(DiskSurveyTest, ATryThatTakesLongCanBeStopped) {
  const auto file = disk_.make_file(50 * MiB);
  const std::vector<const File*> files(200, file.get());
  auto watched = options_timed();
  watched.try_s = 100;  // all in one try
  watched.progress = [&](double) { return now_s_ < 1; };
  bytes_per_s_ = 20e6;
  EXPECT_EQ(survey_disk(files, watched).error().code(), Code::kCancelled);
  EXPECT_LT(now_s_, 2);
}

TEST_F(DiskSurveyTest, TooLittleToReadIsRefused) {
  const auto file = disk_.make_file(20 * MiB);
  const std::vector<const File*> files = {file.get()};
  const auto refused = survey_disk(files, options());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kInvalidArgument);
  EXPECT_THAT(refused.error().message(), HasSubstr("20 MiB of files"));
  EXPECT_FALSE(survey_disk({}, options()));
}

TEST_F(DiskSurveyTest, AFailedReadFailsIt) {
  const auto file = disk_.make_file(64 * MiB);
  const std::vector<const File*> files = {file.get()};
  disk_.options().fault_every_nth = 7;
  const auto failed = survey_disk(files, options());
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code(), Code::kIo);
  EXPECT_THAT(failed.error().message(), HasSubstr(file->path()));
}

TEST(DiskSurveyOnFiles, AFileOfHolesIsDoubted) {
  const TempFolder folder;
  const std::string path = folder.write("holes", "x");
  std::filesystem::resize_file(path, 64 * MiB);
  const auto file = open_file(path).value();
  const std::vector<const File*> files = {file.get()};
  const auto survey = survey_disk(files);
  ASSERT_TRUE(survey) << survey.error().message();
  EXPECT_THAT(survey->doubts, Contains(HasSubstr("is empty")));
}

TEST(DiskSurveyOnFiles, ReadsThroughThePageCacheAreDoubted) {
  const TempFolder folder;
  const auto file = open_file(folder.write("weights", random_bytes(64 * MiB, 1)), {.direct = false}).value();
  const std::vector<const File*> files = {file.get()};
  const auto survey = survey_disk(files);
  ASSERT_TRUE(survey) << survey.error().message();
  EXPECT_FALSE(survey->facts.direct);
  EXPECT_THAT(survey->doubts, Contains(HasSubstr("page cache")));
}

}  // namespace
}  // namespace spillway
