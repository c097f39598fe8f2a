// SPDX-License-Identifier: MIT
// The child is this program: see main() below.
#include "os/servant_process.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "os/own_program.h"

namespace spillway {
namespace {

using testing::HasSubstr;

constexpr const char* kServant = "--as-servant";

std::unique_ptr<ServantProcess> start() {
  auto servant = ServantProcess::start(own_program(), {kServant});
  EXPECT_TRUE(servant) << servant.error().message();
  return std::move(*servant);
}

TEST(ServantProcess, AnswersOneMessageAfterTheOther) {
  const auto servant = start();
  EXPECT_EQ(*servant->ask("echo hello", 20, 100), "hello");
  EXPECT_EQ(*servant->ask("echo ", 20, 100), "");
  const std::string large(20 << 20, 'x');
  EXPECT_TRUE(*servant->ask("echo " + large, 60, large.size()) == large);
  EXPECT_EQ(*servant->ask("echo again", 20, 100), "again");
}

TEST(ServantProcess, OneThatDoesNotEndIsEnded) {
  const auto servant = start();
  const Stopwatch watch;
  EXPECT_EQ(servant->ask("loop", 0.2, 100).error().code(), Code::kOutOfBudget);
  EXPECT_LT(watch.elapsed_s(), 15);
  EXPECT_EQ(servant->ask("echo hello", 20, 100).error().code(), Code::kIo);
}

TEST(ServantProcess, OneThatComputesForTooLongEndsByItself) {
  const auto servant = start();
  EXPECT_EQ(servant->ask("limit and loop", 60, 100).error().code(), Code::kIo);
}

TEST(ServantProcess, OneThatBreaksDownIsNoticed) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  const std::vector<const char*> ends = {"abort", "exit"};  // memory is not bounded there
#else
  const std::vector<const char*> ends = {"abort", "exit", "take memory"};
#endif
  for (const char* end : ends) {
    const auto servant = start();
    EXPECT_EQ(servant->ask(end, 60, 100).error().code(), Code::kIo) << end;
  }
}

TEST(ServantProcess, OneThatTheSystemEndsDidNothingWrong) {
  for (const char* end : {"kill -KILL $$", "exit 127"}) {
    const auto servant = ServantProcess::start("/bin/sh", {"-c", end});
    ASSERT_TRUE(servant) << servant.error().message();
    EXPECT_EQ((*servant)->ask("hello", 60, 100).error().code(), Code::kBusy) << end;
  }
  const auto servant = ServantProcess::start("/bin/sh", {"-c", "kill -XCPU $$"});
  ASSERT_TRUE(servant) << servant.error().message();
  EXPECT_EQ((*servant)->ask("hello", 60, 100).error().code(), Code::kIo);
}

TEST(ServantProcess, AnAnswerThatIsTooLongIsNotTaken) {
  const auto servant = start();
  EXPECT_EQ(servant->ask("echo 0123456789", 20, 9).error().code(), Code::kOutOfBudget);
}

TEST(ServantProcess, OneThatIsConfinedOpensNoFile) {
  const auto servant = start();
  EXPECT_THAT(*servant->ask("open", 20, 100), HasSubstr("Too many open files"));
}

TEST(ServantProcess, HoldsNothingThatThisProcessHasOpen) {
  const int open_in_children = ::open("/dev/null", O_RDONLY);  // NOLINT: without O_CLOEXEC, as libraries open sockets
  ASSERT_GT(open_in_children, 2);
  EXPECT_EQ(*start()->ask("descriptors", 20, 100), "3");
  ::close(open_in_children);
}

TEST(ServantProcess, KnowsOfOurEnvironmentTheTimeZoneAndNoKeys) {
  ::setenv("SPILLWAY_API_KEY", "secret", 1);
  ::setenv("TZ", "Europe/Vienna", 1);
  const auto servant = start();
  EXPECT_EQ(*servant->ask("variable SPILLWAY_API_KEY", 20, 100), "none");
  EXPECT_EQ(*servant->ask("variable TZ", 20, 100), "Europe/Vienna");
  ::unsetenv("SPILLWAY_API_KEY");
  ::unsetenv("TZ");
}

#if defined(__linux__)
TEST(ServantProcess, WhatItComputesIsKnownHere) {
  const auto servant = start();
  EXPECT_EQ(*servant->ask("compute", 60, 100), "computed");
  EXPECT_GE(servant->cpu_s(), 0.05);
  EXPECT_FALSE(servant->ask("exit", 60, 100));
  EXPECT_EQ(servant->cpu_s(), 0);
}
#endif

TEST(ServantProcess, AProgramThatIsNotThereSaysSo) {
  EXPECT_EQ(ServantProcess::start("/no/such/program", {}).error().code(), Code::kNotFound);
  EXPECT_EQ(ServantProcess::start("/etc/passwd", {}).error().code(), Code::kPermissionDenied);
}

std::string answer(const std::string& message) {
  if (message.starts_with("echo ")) return message.substr(5);
  if (message.starts_with("variable ")) {
    const char* value = std::getenv(message.substr(9).c_str());
    return value == nullptr ? "none" : value;
  }
  if (message == "limit and loop") limit_cpu_from_now(0.1);
  if (message.ends_with("loop"))
    for (std::atomic<uint64_t> i = 0;; ++i) {
    }
  if (message == "compute") {
    while (std::clock() < CLOCKS_PER_SEC / 20) {
    }
    return "computed";
  }
  if (message == "abort") std::abort();
  if (message == "exit") std::_Exit(3);
  if (message == "take memory") {
    std::vector<std::string> all;
    for (;;) all.emplace_back(100 << 20, 'x');
  }
  if (message == "descriptors") {
    int n = 0;
    for (int fd = 0; fd < 1000; ++fd) n += ::fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
    return std::to_string(n);
  }
  if (message == "open") return ::open("/etc/passwd", O_RDONLY) < 0 ? std::strerror(errno) : "opened";
  return "?";
}

}  // namespace
}  // namespace spillway

int main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], spillway::kServant) == 0) {
    spillway::confine_this_process(uint64_t{1} << 30);
    spillway::answer_messages([](const std::string& message) { return spillway::answer(message); });
    return 0;
  }
  testing::InitGoogleMock(&argc, argv);
  return RUN_ALL_TESTS();
}
