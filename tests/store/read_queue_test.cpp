// SPDX-License-Identifier: MIT
#include "store/read_queue.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <array>
#include <random>

#include "../os/temp_folder.h"

namespace spillway {
namespace {

using testing::ElementsAre;

// Extents 0 to 9, the odd ones of another class, taken out in the order in which they come up.
class ReadQueueOfTen : public testing::Test {
 protected:
  std::vector<uint32_t> take_all(Priority priority) {
    std::vector<uint32_t> taken;
    while (const auto place = queue_.first(priority)) {
      taken.push_back(index_of(place->id));
      queue_.pop(place->id);
    }
    return taken;
  }
  void ask(std::initializer_list<uint32_t> ids, Priority priority) {
    for (const uint32_t id : ids) queue_.push_back(ExtentId{id}, priority);
  }

  ReadQueue queue_{{0, 1, 0, 1, 0, 1, 0, 1, 0, 1}, 2};
};

TEST_F(ReadQueueOfTen, ClassesTakeTurnsAsTheyWereAskedFor) {
  ask({4, 1, 3, 0, 9}, Priority::kCertain);
  EXPECT_THAT(take_all(Priority::kDemand), ElementsAre());
  EXPECT_THAT(take_all(Priority::kCertain), ElementsAre(4, 1, 3, 0, 9));
}

TEST_F(ReadQueueOfTen, OneThatIsPassedOverHoldsUpItsClassAndNoOther) {
  ask({4, 0, 1, 3}, Priority::kDemand);
  const auto blocked = queue_.first(Priority::kDemand);
  ASSERT_EQ(blocked->id, ExtentId{4});
  EXPECT_EQ(queue_.first(Priority::kDemand, blocked->ticket)->id, ExtentId{1});
  queue_.pop(ExtentId{1});
  EXPECT_THAT(take_all(Priority::kDemand), ElementsAre(4, 0, 3));
}

TEST_F(ReadQueueOfTen, AskedMoreUrgentlyItMovesAndLessUrgentlyItStays) {
  ask({2, 4}, Priority::kLikely);
  EXPECT_TRUE(queue_.push_back(ExtentId{4}, Priority::kDemand));
  EXPECT_FALSE(queue_.push_back(ExtentId{4}, Priority::kSpeculative));
  EXPECT_FALSE(queue_.push_back(ExtentId{2}, Priority::kLikely));
  EXPECT_THAT(take_all(Priority::kDemand), ElementsAre(4));
  EXPECT_THAT(take_all(Priority::kLikely), ElementsAre(2));
}

TEST_F(ReadQueueOfTen, WhatIsRemovedAndAskedForAnewStandsAtTheEnd) {
  ask({2, 4, 6}, Priority::kCertain);
  queue_.remove(ExtentId{2});
  queue_.push_back(ExtentId{2}, Priority::kCertain);
  EXPECT_THAT(take_all(Priority::kCertain), ElementsAre(4, 6, 2));
}

TEST_F(ReadQueueOfTen, TheLastPushedToTheFrontIsFirst) {
  ask({2, 4}, Priority::kDemand);
  for (const uint32_t id : {6u, 4u}) queue_.push_front(ExtentId{id}, Priority::kDemand);
  EXPECT_LT(queue_.ticket_of(ExtentId{4}), queue_.ticket_of(ExtentId{2}));
  EXPECT_THAT(take_all(Priority::kDemand), ElementsAre(4, 6, 2));
}

// The plain model: for each priority a list in order.
TEST(ReadQueue, RandomOperationsGiveTheOrderOfPlainLists) {
  TRACE_SEED();
  std::mt19937_64 random(test_seed());
  constexpr uint32_t kExtents = 40, kClasses = 3;
  std::vector<uint32_t> class_of(kExtents);
  for (uint32_t& c : class_of) c = static_cast<uint32_t>(random() % kClasses);
  ReadQueue queue(class_of, kClasses);
  std::array<std::vector<ExtentId>, kPriorities> lists;
  const auto priority_in_lists = [&](ExtentId id) {
    for (int p = 0; p < kPriorities; ++p)
      if (std::find(lists[p].begin(), lists[p].end(), id) != lists[p].end()) return p;
    return kPriorities;
  };
  const auto take_out = [&](ExtentId id) {
    for (auto& list : lists) std::erase(list, id);
  };
  for (int step = 0; step < 20'000; ++step) {
    const ExtentId id{static_cast<uint32_t>(random() % kExtents)};
    const auto p = static_cast<int>(random() % kPriorities);
    const auto priority = static_cast<Priority>(p);
    switch (random() % 4) {
      case 0: {
        const bool moves = p < priority_in_lists(id);
        ASSERT_EQ(queue.push_back(id, priority), moves);
        if (!moves) break;
        take_out(id);
        lists[p].push_back(id);
        break;
      }
      case 1:
        queue.push_front(id, priority);
        take_out(id);
        lists[p].insert(lists[p].begin(), id);
        break;
      case 2:
        queue.remove(id);
        take_out(id);
        break;
      default: {
        const auto place = queue.first(priority);
        ASSERT_EQ(place.has_value(), !lists[p].empty());
        if (!place) break;
        ASSERT_EQ(place->id, lists[p].front());
        // The first of another class, behind it.
        const auto is_other = [&](ExtentId e) { return class_of[index_of(e)] != class_of[index_of(place->id)]; };
        const auto other = std::find_if(lists[p].begin(), lists[p].end(), is_other);
        const auto next = queue.first(priority, place->ticket);
        ASSERT_EQ(next.has_value(), other != lists[p].end());
        if (next) {
          ASSERT_EQ(next->id, *other);
        }
        queue.pop(place->id);
        take_out(place->id);
      }
    }
  }
}

}  // namespace
}  // namespace spillway
