// SPDX-License-Identifier: MIT
#include "serve/worker_threads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/notice.h"

namespace spillway {
namespace {

// Counts when its thread is gone.
struct CountedEnd {
  std::atomic<int>* n_ended = nullptr;
  ~CountedEnd() {
    if (n_ended != nullptr) ++*n_ended;
  }
};
thread_local CountedEnd end_of_thread;

TEST(WorkerThreads, AsManyWorkAsThereIsWorkForUpToTheBound) {
  WorkerThreads threads(2);
  std::latch go_on(1), begun(2);
  const auto work = [&] {
    begun.count_down();
    go_on.wait();
  };
  EXPECT_TRUE(threads.submit(work));
  EXPECT_TRUE(threads.submit(work));
  begun.wait();
  EXPECT_FALSE(threads.submit([] {}));
  go_on.count_down();
  threads.stop();
  EXPECT_FALSE(threads.submit([] {}));
}

TEST(WorkerThreads, WhatWorkThrowsIsTheWorksOwnMatter) {
  std::vector<std::string> notices;
  set_notice_sink([&](const std::string& sentence) { notices.push_back(sentence); });
  WorkerThreads threads(1);
  std::atomic<bool> done = false;
  EXPECT_TRUE(threads.submit([] { throw std::runtime_error("oops"); }));
  while (!threads.submit([] { throw 5; })) std::this_thread::yield();
  while (!threads.submit([&] { done = true; })) std::this_thread::yield();
  threads.stop();
  set_notice_sink(nullptr);
  EXPECT_TRUE(done);
  EXPECT_EQ(notices, (std::vector<std::string>{"a request's thread: oops",
                                               "a request's thread: what is no exception was thrown"}));
}

// Threads that have ended are joined by whoever comes next. One that came while the server stopped, or when no thread
// was to be had, left them as they were, which ended the process.
TEST(WorkerThreads, WhoIsRefusedJoinsThoseThatHaveEnded) {
  std::atomic<int> n_ended = 0;
  int n_taken = 0;
  std::latch go_on(1), begun(1);
  WorkerThreads threads(10);
  EXPECT_TRUE(threads.submit([&] {
    begun.count_down();
    go_on.wait();
  }));
  begun.wait();
  std::thread stopping([&] { threads.stop(); });  // waits for the one above
  while (threads.submit([&n_ended] { end_of_thread.n_ended = &n_ended; })) ++n_taken;
  if (n_taken > 0)
    while (n_ended == 0) std::this_thread::yield();
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(threads.submit([] {}));
  go_on.count_down();
  stopping.join();
}

}  // namespace
}  // namespace spillway
