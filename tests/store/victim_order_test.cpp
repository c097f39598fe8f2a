// SPDX-License-Identifier: MIT
#include "store/victim_order.h"

#include <gtest/gtest.h>

#include <optional>
#include <random>

#include "../os/temp_folder.h"

namespace spillway {
namespace {

TEST(VictimOrder, TheLowestOfItsClassIsFirst) {
  VictimOrder order({0, 0, 0, 1}, 2);
  EXPECT_FALSE(order.first(0));
  order.put(ExtentId{0}, {.worth = 3});
  order.put(ExtentId{1}, {.worth = 2});
  order.put(ExtentId{3}, {.worth = 1});
  EXPECT_EQ(order.first(0), ExtentId{1});
  EXPECT_EQ(order.first(1), ExtentId{3});
  order.put(ExtentId{1}, {.worth = 4});
  EXPECT_EQ(order.first(0), ExtentId{0});
  order.remove(ExtentId{0});
  EXPECT_EQ(order.first(0), ExtentId{1});
  order.remove(ExtentId{0});
  order.remove(ExtentId{1});
  EXPECT_FALSE(order.first(0));
}

TEST(VictimOrder, OfEqualsTheLowestNumberIsFirst) {
  VictimOrder order({0, 0, 0, 0}, 1);
  for (const uint32_t id : {2u, 1u, 3u}) order.put(ExtentId{id}, {.worth = 7});
  EXPECT_EQ(order.first(0), ExtentId{1});
}

// The plain model: each extent's order, looked through one by one.
TEST(VictimOrder, RandomChangesLeaveTheFirstOfAPlainSearch) {
  TRACE_SEED();
  std::mt19937_64 random(test_seed());
  constexpr uint32_t kExtents = 200, kClasses = 3;
  std::vector<uint32_t> class_of(kExtents);
  for (uint32_t& c : class_of) c = static_cast<uint32_t>(random() % kClasses);
  VictimOrder order(class_of, kClasses);
  std::vector<std::optional<KeepOrder>> plain(kExtents);
  for (int step = 0; step < 20'000; ++step) {
    const auto at = static_cast<uint32_t>(random() % kExtents);
    if (random() % 3 == 0) {
      order.remove(ExtentId{at});
      plain[at].reset();
    } else {
      const KeepOrder keep{.chosen = random() % 4 > 0, .worth = static_cast<double>(random() % 30)};  // often equal
      order.put(ExtentId{at}, keep);
      plain[at] = keep;
    }
    for (uint32_t c = 0; c < kClasses; ++c) {
      std::optional<ExtentId> lowest;
      for (uint32_t i = 0; i < kExtents; ++i)
        if (class_of[i] == c && plain[i] && (!lowest || *plain[i] < *plain[index_of(*lowest)])) lowest = ExtentId{i};
      ASSERT_EQ(order.first(c), lowest) << "step " << step;
    }
  }
}

}  // namespace
}  // namespace spillway
