// SPDX-License-Identifier: MIT
#include "os/io_queue.h"

#include <gmock/gmock.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <thread>
#include <vector>

#include "base/bytes.h"
#include "os/machine.h"
#include "os/memory.h"
#include "os/task_limit.h"
#include "temp_folder.h"

namespace spillway {
namespace {

constexpr uint32_t kReadBytesMax = 16 * kPageBytes;

// What follows holds for both kinds alike.
class EveryIoQueue : public testing::TestWithParam<IoQueueKind> {
 protected:
  void SetUp() override {
    const auto probe = open_io_queue(GetParam(), 1);
    if (!probe) {
      ASSERT_EQ(probe.error().code(), Code::kUnsupported);
      GTEST_SKIP() << probe.error().message();
    }
  }
  std::unique_ptr<IoQueue> open_queue(unsigned depth) { return open_io_queue(GetParam(), depth).value(); }

  // Reads random ranges, `depth` at a time, and compares every byte.
  void expect_right_bytes(unsigned depth, int reads) {
    TRACE_SEED();
    std::mt19937_64 random(test_seed() + depth);
    std::unique_ptr<IoQueue> queue = open_queue(depth);
    EXPECT_EQ(queue->depth(), depth);
    const Region memory = Region::allocate(uint64_t{depth} * kReadBytesMax, 0).value();
    std::vector<unsigned> free_slots;
    for (unsigned i = 0; i < depth; ++i) free_slots.push_back(i);
    std::map<uint64_t, std::pair<ReadRequest, unsigned>> in_flight;  // tag -> request, slot
    std::vector<ReadOutcome> done;
    int started = 0, finished = 0;
    while (finished < reads) {
      while (started < reads && !free_slots.empty()) {
        const unsigned slot = free_slots.back();
        free_slots.pop_back();
        const uint64_t pages = round_up(content_.size(), kPageBytes) / kPageBytes;
        const ReadRequest request{.file = file_.get(),
                                  .offset = random() % (pages + 2) * kPageBytes,
                                  .destination = memory.data() + uint64_t{slot} * kReadBytesMax,
                                  .bytes = static_cast<uint32_t>((1 + random() % 16) * kPageBytes),
                                  .tag = random()};
        in_flight[request.tag] = {request, slot};
        queue->submit(request);
        ++started;
      }
      ASSERT_EQ(queue->in_flight(), in_flight.size());
      done.clear();
      queue->wait(done);
      ASSERT_FALSE(done.empty());
      for (const ReadOutcome& outcome : done) {
        const auto& [request, slot] = in_flight.at(outcome.tag);
        const std::string expected =
            request.offset < content_.size() ? content_.substr(request.offset, request.bytes) : "";
        ASSERT_EQ(outcome.result, static_cast<int64_t>(expected.size())) << "at " << request.offset;
        ASSERT_EQ(std::memcmp(request.destination, expected.data(), expected.size()), 0) << "at " << request.offset;
        free_slots.push_back(slot);
        in_flight.erase(outcome.tag);
        ++finished;
      }
    }
    EXPECT_EQ(queue->in_flight(), 0u);
  }

  TempFolder folder_;
  const std::string content_ = random_bytes(2 * MiB + 1234, test_seed());
  const std::unique_ptr<File> file_ = open_file(folder_.write("data", content_)).value();
};

INSTANTIATE_TEST_SUITE_P(Kinds, EveryIoQueue, testing::Values(IoQueueKind::kUring, IoQueueKind::kThreads),
                         [](const auto& kind) { return kind.param == IoQueueKind::kUring ? "Uring" : "Threads"; });

TEST_P(EveryIoQueue, ReadsTheRightBytesOneAtATime) { expect_right_bytes(1, 50); }
TEST_P(EveryIoQueue, ReadsTheRightBytesManyAtATime) { expect_right_bytes(32, 1000); }
TEST_P(EveryIoQueue, ReadsTheRightBytesInDeepQueuesOfNoRoundNumber) { expect_right_bytes(200, 2000); }

TEST_P(EveryIoQueue, AReadAcrossTheEndIsShortAndOneBehindItEmpty) {
  const auto queue = open_queue(2);
  const Region memory = Region::allocate(2 * kPageBytes, 0).value();
  queue->submit({.file = file_.get(), .offset = 2 * MiB, .destination = memory.data(), .bytes = kPageBytes, .tag = 1});
  queue->submit({.file = file_.get(),
                 .offset = 4 * MiB,
                 .destination = memory.data() + kPageBytes,
                 .bytes = kPageBytes,
                 .tag = 2});
  std::vector<ReadOutcome> done;
  while (queue->in_flight() > 0) queue->wait(done);
  std::map<uint64_t, int64_t> results;
  for (const ReadOutcome& outcome : done) results[outcome.tag] = outcome.result;
  EXPECT_THAT(results, testing::ElementsAre(testing::Pair(1, 1234), testing::Pair(2, 0)));
}

TEST_P(EveryIoQueue, AReadToUnmappedMemoryReportsItsErrno) {
  const auto queue = open_queue(1);
  auto* nowhere = reinterpret_cast<std::byte*>(kPageBytes);
  queue->submit({.file = file_.get(), .offset = 0, .destination = nowhere, .bytes = kPageBytes, .tag = 9});
  std::vector<ReadOutcome> done;
  queue->wait(done);
  ASSERT_EQ(done.size(), 1u);
  EXPECT_EQ(done[0].tag, 9u);
  EXPECT_EQ(done[0].result, -EFAULT);
}

TEST_P(EveryIoQueue, MayBeOpenedOnOneThreadUsedOnAnotherAndClosedOnAThird) {
  auto queue = open_queue(4);
  const Region memory = Region::allocate(kPageBytes, 0).value();
  std::vector<ReadOutcome> done;
  std::thread([&] {
    queue->submit({.file = file_.get(), .offset = 0, .destination = memory.data(), .bytes = kPageBytes, .tag = 1});
    queue->wait(done);
  }).join();
  std::thread([&] { queue.reset(); }).join();
  ASSERT_EQ(done.size(), 1u);
  EXPECT_EQ(done[0].result, static_cast<int64_t>(kPageBytes));
}

TEST_P(EveryIoQueue, ClosingWaitsForWhatIsInFlight) {
  const Region memory = Region::allocate(64 * kPageBytes, 0).value();
  auto queue = open_queue(64);
  for (uint64_t i = 0; i < 64; ++i)
    queue->submit({.file = file_.get(),
                   .offset = i * kPageBytes,
                   .destination = memory.data() + i * kPageBytes,
                   .bytes = kPageBytes,
                   .tag = i});
  queue.reset();
  EXPECT_EQ(std::memcmp(memory.data(), content_.data(), 64 * kPageBytes), 0);
}

void ignore_signal(int) {}

TEST_P(EveryIoQueue, AWaitThatSignalsInterruptStillEndsWithAnOutcome) {
  struct sigaction interrupting {
  }, before{};
  interrupting.sa_handler = ignore_signal;  // no SA_RESTART: system calls end with EINTR
  ASSERT_EQ(::sigaction(SIGUSR1, &interrupting, &before), 0);
  std::atomic<bool> reading{true};
  const pthread_t reader = ::pthread_self();
  std::thread disturber([&] {
    while (reading) {
      ::pthread_kill(reader, SIGUSR1);
      std::this_thread::yield();
    }
  });
  expect_right_bytes(8, 2000);
  reading = false;
  disturber.join();
  ::sigaction(SIGUSR1, &before, nullptr);
}

#if !defined(__SANITIZE_THREAD__)  // no threads in children that fork made, there
// In a child: ends with what `in_child` says.
[[noreturn]] void with_threads(unsigned n, const std::function<int()>& in_child) {
  constexpr uid_t kNobody = 65534;  // root has no such limit
  const rlimit limit{n + 1, n + 1};
  if (::geteuid() == 0 && ::setresuid(kNobody, kNobody, kNobody) != 0) std::_Exit(2);
  if (::setrlimit(RLIMIT_NPROC, &limit) != 0) std::_Exit(3);
  std::_Exit(in_child());
}

TEST(ThreadQueue, ThatGetsNoThreadIsAnError) {
  EXPECT_EXIT(with_threads(0,
                           [] {
                             const auto queue = open_io_queue(IoQueueKind::kThreads, 4);
                             return !queue && queue.error().code() == Code::kBusy ? 0 : 1;
                           }),
              testing::ExitedWithCode(0), "");
}

TEST(ThreadQueue, LeavesThoseThatComputeTheirThreads) {
  TempFolder folder;
  const auto file = open_file(folder.write("a", std::string(kPageBytes, 'a'))).value();
  const Region memory = Region::allocate(16 * kPageBytes, 0).value();
  const unsigned computing = threads_of_model(usable_cpus());
  EXPECT_EXIT(with_threads(computing + 3,
                           [&] {
                             const auto queue = open_io_queue(IoQueueKind::kThreads, 16, computing);
                             if (!queue || !try_threads(computing)) return 1;
                             // With fewer threads, as many reads at once.
                             for (uint64_t i = 0; i < 16; ++i)
                               (*queue)->submit({file.get(), 0, memory.data() + i * kPageBytes, kPageBytes, i});
                             std::vector<ReadOutcome> done;
                             while ((*queue)->in_flight() > 0) (*queue)->wait(done);
                             return done.size() == 16 ? 0 : 4;
                           }),
              testing::ExitedWithCode(0), "");
}
#endif

TEST(ReadRingDeathTest, MoreReadsThanTheDepthAreABug) {
  TempFolder folder;
  const auto file = open_file(folder.write("a", std::string(kPageBytes, 'a'))).value();
  const Region memory = Region::allocate(kPageBytes, 0).value();
  const ReadRequest request{
      .file = file.get(), .offset = 0, .destination = memory.data(), .bytes = kPageBytes, .tag = 0};
  const auto submit_two = [&request] {
    const auto queue = open_io_queue(IoQueueKind::kBest, 1).value();
    queue->submit(request);
    queue->submit(request);
  };
  EXPECT_DEATH(submit_two(), "in_flight_ < depth_");
}

}  // namespace
}  // namespace spillway
