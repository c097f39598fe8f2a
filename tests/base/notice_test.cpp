// SPDX-License-Identifier: MIT
#include "base/notice.h"

#include <gmock/gmock.h>

#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"

namespace spillway {
namespace {

// The sentences that were passed on while it lives.
class HeardNotices {
 public:
  HeardNotices() {
    set_notice_sink([this](const std::string& sentence) {
      MutexLock lock(mu_);
      heard_.push_back(sentence);
    });
  }
  ~HeardNotices() { set_notice_sink(nullptr); }

  std::vector<std::string> all() {
    MutexLock lock(mu_);
    return heard_;
  }

 private:
  Mutex mu_;
  std::vector<std::string> heard_ GUARDED_BY(mu_);
};

TEST(Notice, IsPassedOnOncePerSentence) {
  HeardNotices notices;
  notice("the disk is slow");
  notice("the disk is slow");
  notice("the disk is slower");
  EXPECT_THAT(notices.all(), testing::ElementsAre("the disk is slow", "the disk is slower"));
}

TEST(Notice, GoesNowhereWithoutASink) {
  notice("nobody hears this");
  HeardNotices notices;
  EXPECT_THAT(notices.all(), testing::IsEmpty());
  notice("nobody hears this");
  EXPECT_THAT(notices.all(), testing::ElementsAre("nobody hears this"));
}

TEST(Notice, IsPassedOnOnceThoughManyThreadsSayIt) {
  HeardNotices notices;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) threads.emplace_back([] { notice("all at once"); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(notices.all(), testing::ElementsAre("all at once"));
}

TEST(Notice, MayBeGivenFromInsideTheSink) {
  std::vector<std::string> heard;
  set_notice_sink([&heard](const std::string& sentence) {
    heard.push_back(sentence);
    notice("the inner one");
  });
  notice("the outer one");
  set_notice_sink(nullptr);
  EXPECT_THAT(heard, testing::ElementsAre("the outer one", "the inner one"));
}

}  // namespace
}  // namespace spillway
