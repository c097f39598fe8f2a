// SPDX-License-Identifier: MIT
#include "store/victim_order.h"

#include <gtest/gtest.h>

#include <optional>
#include <random>

#include "../os/temp_folder.h"

namespace spillway {
namespace {

std::optional<ExtentId> first(const VictimOrder& order, uint32_t group) {
  const auto candidate = order.first(group);
  return candidate ? std::optional(candidate->id) : std::nullopt;
}

TEST(VictimOrder, WhoCanBestBeSparedOfItsGroupIsFirst) {
  VictimOrder order({0, 0, 0, 1}, 2);
  EXPECT_FALSE(order.first(0));
  order.put(ExtentId{0}, 3);
  order.put(ExtentId{1}, 4);
  order.put(ExtentId{3}, 1);
  EXPECT_EQ(first(order, 0), ExtentId{1});
  EXPECT_EQ(first(order, 1), ExtentId{3});
  EXPECT_EQ(order.first(0)->spare, 4);
  order.put(ExtentId{1}, 2);
  EXPECT_EQ(first(order, 0), ExtentId{0});
  order.remove(ExtentId{0});
  EXPECT_EQ(first(order, 0), ExtentId{1});
  order.remove(ExtentId{0});
  order.remove(ExtentId{1});
  EXPECT_FALSE(order.first(0));
}

TEST(VictimOrder, OfEqualsTheLowestNumberIsFirst) {
  VictimOrder order({0, 0, 0, 0}, 1);
  for (const uint32_t id : {2u, 1u, 3u}) order.put(ExtentId{id}, 7);
  EXPECT_EQ(first(order, 0), ExtentId{1});
}

// The plain model: each extent's number, looked through one by one.
TEST(VictimOrder, RandomChangesLeaveTheFirstOfAPlainSearch) {
  TRACE_SEED();
  std::mt19937_64 random(test_seed());
  constexpr uint32_t kExtents = 200, kGroups = 3;
  std::vector<uint32_t> group_of(kExtents);
  for (uint32_t& group : group_of) group = static_cast<uint32_t>(random() % kGroups);
  VictimOrder order(group_of, kGroups);
  std::vector<std::optional<double>> plain(kExtents);
  const auto some_number = [&] { return static_cast<double>(random() % 30); };  // often equal
  for (int step = 0; step < 20'000; ++step) {
    const auto at = static_cast<uint32_t>(random() % kExtents);
    if (step % 50 == 0) {
      order.put_all(group_of[at], [&](ExtentId id) { return *(plain[index_of(id)] = some_number()); });
    } else if (random() % 3 == 0) {
      order.remove(ExtentId{at});
      plain[at].reset();
    } else {
      order.put(ExtentId{at}, *(plain[at] = some_number()));
    }
    for (uint32_t group = 0; group < kGroups; ++group) {
      std::optional<ExtentId> best;
      for (uint32_t i = 0; i < kExtents; ++i)
        if (group_of[i] == group && plain[i] && (!best || *plain[i] > *plain[index_of(*best)])) best = ExtentId{i};
      ASSERT_EQ(first(order, group), best) << "step " << step;
    }
  }
}

}  // namespace
}  // namespace spillway
