// SPDX-License-Identifier: MIT
#include "serving/fair_queue.h"

#include <gtest/gtest.h>

#include <vector>

namespace spillway {
namespace {

std::vector<int> drain(FairQueue<int>& queue) {
  std::vector<int> out;
  while (const auto item = queue.pop()) out.push_back(*item);
  return out;
}

TEST(FairQueue, ClientsTakeTurnsAndKeepTheirOwnOrder) {
  FairQueue<int> queue(10);
  for (const int i : {1, 2, 3, 4}) queue.push("a", i);
  queue.push("b", 11);
  queue.push("c", 21);
  queue.push("b", 12);
  EXPECT_EQ(drain(queue), (std::vector<int>{1, 11, 21, 2, 12, 3, 4}));
}

TEST(FairQueue, IsBoundedOverAllClients) {
  FairQueue<int> queue(2);
  EXPECT_TRUE(queue.push("a", 1));
  EXPECT_TRUE(queue.push("b", 2));
  EXPECT_FALSE(queue.push("c", 3));
  EXPECT_EQ(queue.size(), 2u);
  EXPECT_EQ(drain(queue), (std::vector<int>{1, 2}));
  EXPECT_TRUE(queue.push("c", 3));
}

TEST(FairQueue, WhatIsTakenOutInTheMiddleLeavesTheOthersInTheirOrder) {
  FairQueue<int> queue(10);
  for (const int i : {1, 2, 3}) queue.push("a", i);
  queue.push("b", 4);
  std::vector<int> removed;
  queue.remove_if([](int i) { return i % 2 == 0; }, [&](int i) { removed.push_back(i); });
  EXPECT_EQ(removed, (std::vector<int>{2, 4}));
  EXPECT_EQ(drain(queue), (std::vector<int>{1, 3}));
  EXPECT_TRUE(queue.empty());
}

TEST(FairQueue, WhoHasNothingToTakeKeepsHisTurn) {
  FairQueue<int> queue(10);
  for (const int i : {1, 3}) queue.push("odd", i);
  for (const int i : {5, 6, 8}) queue.push("both", i);
  queue.push("even", 2);
  const auto is_even = [](int i) { return i % 2 == 0; };
  EXPECT_EQ(queue.pop_if(is_even), 6);
  EXPECT_EQ(queue.pop_if(is_even), 2);
  EXPECT_EQ(queue.pop_if(is_even), 8);
  EXPECT_EQ(queue.pop_if(is_even), std::nullopt);
  EXPECT_EQ(queue.size(), 3u);
  EXPECT_EQ(drain(queue), (std::vector<int>{1, 5, 3}));
}

}  // namespace
}  // namespace spillway
