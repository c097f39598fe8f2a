// SPDX-License-Identifier: MIT
#include "engine/prompt_parts.h"

#include <gtest/gtest.h>

namespace spillway {
namespace {

TEST(PromptParts, AShortPromptIsNeverCut) {
  EXPECT_EQ(last_cut(127), 0u);
  EXPECT_EQ(part_end(127, 0, 512), 127u);
}

// However much room there is each time: parts begin at multiples of 64, and none is shorter.
TEST(PromptParts, EveryPartIsAProperOneWhateverTheRoom) {
  for (size_t n = 64; n < 1500; n += 7)
    for (const size_t room : {127u, 128u, 200u, 512u}) {
      size_t from = 0;
      while (from < n) {
        const size_t end = part_end(n, from, room);
        ASSERT_LE(end - from, room);
        ASSERT_TRUE(is_proper_part(n, from, end)) << n << ": " << from << " to " << end;
        from = end;
      }
    }
}

TEST(PromptParts, WithoutRoomForAPartItIsWhatThereIs) {
  EXPECT_EQ(part_end(1000, 0, 10), 10u);
  EXPECT_FALSE(is_proper_part(1000, 0, 10));
}

TEST(PromptParts, BehindAnAnswerTheNextCutIsAProperOneAgain) {
  EXPECT_EQ(part_end(1000, 100, 200), 256u);
  EXPECT_FALSE(is_proper_part(1000, 100, 256));
}

}  // namespace
}  // namespace spillway
