// SPDX-License-Identifier: MIT
#include "serving/fair_places.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace spillway {
namespace {

using Place = Result<FairPlaces::Place>;

class FairPlacesTest : public testing::Test {
 protected:
  std::optional<Place> take(bool is_long) { return places_.take({}, is_long); }

  // Waits for a place, behind who waits already.
  std::future<std::optional<Place>> queue_up(bool is_long, Asker asker = {}) {
    const size_t n = places_.n_waiting();
    auto taken = std::async(std::launch::async, [this, is_long, asker = std::move(asker)] {
      return std::optional<Place>(places_.take(asker, is_long));
    });
    while (places_.n_waiting() == n) std::this_thread::yield();
    return taken;
  }

  FairPlaces places_{4};
};

TEST_F(FairPlacesTest, AShortOneFindsAPlaceHoweverManyLongOnesWait) {
  auto long_one = take(true), other_long_one = take(true);
  auto third = queue_up(true);
  auto short_one = take(false), other_short_one = take(false);
  short_one.reset();
  EXPECT_EQ(places_.n_waiting(), 1u) << "there are two long ones";
  long_one.reset();
  EXPECT_TRUE(third.get().value());
}

TEST_F(FairPlacesTest, NeitherLongNorShortOnesWaitForEver) {
  std::optional<Place> places[] = {take(false), take(false), take(false), take(false)};
  auto long_one = queue_up(true), short_one = queue_up(false), other_long_one = queue_up(true);
  places[0].reset();
  const auto first = long_one.get();
  places[1].reset();
  const auto second = other_long_one.get();
  EXPECT_EQ(places_.n_waiting(), 1u) << "the short one, of which two are at work";
  places[2].reset();
  EXPECT_TRUE(short_one.get().value());
}

TEST_F(FairPlacesTest, ClientsTakeTurns) {
  std::optional<Place> places[] = {take(false), take(false), take(false), take(false)};
  std::vector<std::future<std::optional<Place>>> greedy;
  for (int i = 0; i < 3; ++i) greedy.push_back(queue_up(false, {.client = "greedy", .is_waiting = {}}));
  auto modest = queue_up(false, {.client = "modest", .is_waiting = {}});
  places[0].reset();
  const auto first = greedy[0].get();
  places[1].reset();
  EXPECT_TRUE(modest.get().value()) << "before the second of who asked for three";
  for (auto& place : places) place.reset();
  for (int i = 1; i < 3; ++i) EXPECT_TRUE(greedy[static_cast<size_t>(i)].get().value());
}

TEST_F(FairPlacesTest, WhoLeavesWaitsNoLonger) {
  std::optional<Place> places[] = {take(false), take(false), take(false), take(false)};
  std::atomic<bool> is_there{true};
  auto leaver = queue_up(false, {.client = "x", .is_waiting = [&] { return is_there.load(); }});
  is_there = false;
  const auto left = leaver.get();
  ASSERT_FALSE(*left);
  EXPECT_EQ(left->error().code(), Code::kCancelled);
  EXPECT_EQ(places_.n_waiting(), 0u);
  const auto never_there = places_.take({.client = "x", .is_waiting = [] { return false; }}, false);
  ASSERT_FALSE(never_there);
  EXPECT_EQ(never_there.error().code(), Code::kCancelled);
}

TEST_F(FairPlacesTest, PatienceEnds) {
  std::optional<Place> places[] = {take(false), take(false), take(false), take(false)};
  const auto late = places_.take({}, false, std::chrono::milliseconds(1));
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code(), Code::kBusy);
  places[0].reset();
  EXPECT_TRUE(places_.take({}, false, std::chrono::milliseconds(1))) << "nobody stands in the way any more";
}

TEST_F(FairPlacesTest, WhoDoesSomethingElseMeanwhileKeepsHisTurnAndNobodyOut) {
  constexpr std::chrono::milliseconds kNow{0};
  std::optional<Place> places[] = {take(false), take(false), take(false), take(false)};
  FairPlaces::Turn sends(places_, "sends", false);
  EXPECT_FALSE(sends.wait(kNow));
  auto behind = queue_up(false, {.client = "waits", .is_waiting = {}});
  places[0].reset();
  auto passed_by = behind.get();
  EXPECT_TRUE(passed_by.value());
  EXPECT_EQ(places_.n_waiting(), 1u) << "it is in the line";
  passed_by.reset();
  EXPECT_TRUE(sends.wait(kNow));
  EXPECT_EQ(places_.n_waiting(), 0u);
}

TEST_F(FairPlacesTest, NoMoreThanThereAreHaveOneWhoeverComesAndLeaves) {
  std::atomic<int> n_now{0}, n_long_now{0}, n_most{0}, n_most_long{0}, n_done{0};
  const auto raise = [](std::atomic<int>& most, int now) {
    for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) continue;
  };
  std::vector<std::jthread> threads;
  for (int i = 0; i < 12; ++i)
    threads.emplace_back([&, i] {
      const bool is_long = i % 2 == 0;
      for (int k = 0; k < 200; ++k) {
        const bool leaves = (i + k) % 7 == 0;
        const auto place =
            places_.take({.client = std::to_string(i % 3), .is_waiting = [&] { return !leaves; }}, is_long);
        if (!place) continue;
        raise(n_most, ++n_now);
        if (is_long) raise(n_most_long, ++n_long_now);
        std::this_thread::yield();
        if (is_long) --n_long_now;
        --n_now;
        ++n_done;
      }
    });
  threads.clear();
  EXPECT_EQ(n_most, 4);
  EXPECT_EQ(n_most_long, 2);
  EXPECT_EQ(places_.n_waiting(), 0u);
  EXPECT_GT(n_done, 12 * 200 * 5 / 7);
}

}  // namespace
}  // namespace spillway
