// SPDX-License-Identifier: MIT
#include "inflate/exact_encoding.h"

#include <gmock/gmock.h>

#include <limits>
#include <vector>

#include "make_model/random.h"

namespace spillway::inflate {
namespace {

using make_model::Random;

// Numbers that a block of the type can hold, made by decoding a block of random steps: steps * scale(s), all exact.
std::vector<float> holdable(ggml_type type, Random& random) {
  std::vector<float> numbers(256);
  const bool is_k = ggml_blck_size(type) == 256;
  const int steps = type == GGML_TYPE_Q8_0                                                       ? 127
                    : type == GGML_TYPE_Q6_K                                                     ? 31
                    : type == GGML_TYPE_Q5_0 || type == GGML_TYPE_Q5_1 || type == GGML_TYPE_Q5_K ? 15
                                                                                                 : 7;
  const size_t part = type == GGML_TYPE_Q6_K ? 16 : 32;
  const float scale = static_cast<float>(1 + random.below(31)) * 0x1p-9f;
  float part_scale = 1;
  for (size_t i = 0; i < numbers.size(); ++i) {
    if (i % part == 0 && is_k) part_scale = static_cast<float>(1 + random.below(60));
    if (i % 32 == 0 && !is_k) part_scale = static_cast<float>(1 + random.below(60));
    const auto step = static_cast<int>(random.below(static_cast<uint64_t>(2 * steps + 1))) - steps;
    numbers[i] = static_cast<float>(step) * scale * part_scale;
  }
  return numbers;
}

TEST(ExactEncoding, EveryTypeHoldsWhatCameOutOfItAndReadsBackEqual) {
  for (const ggml_type type : exact_types()) {
    if (type == GGML_TYPE_F16 || type == GGML_TYPE_BF16 || type == GGML_TYPE_F32) continue;
    Random random(7);
    for (int round = 0; round < 200; ++round) {
      const std::vector<float> numbers = holdable(type, random);
      std::vector<std::byte> bytes(ggml_row_size(type, 256));
      ASSERT_TRUE(encode_exactly(type, numbers, bytes)) << ggml_type_name(type) << " round " << round;
      EXPECT_EQ(decode(type, bytes.data(), 256), numbers) << ggml_type_name(type);
    }
  }
}

TEST(ExactEncoding, BlocksWithFewNumbersOtherThanZeroAreHeldToo) {
  // A lone multiple of the scale: the common divisor is far above the scale, and may have more digits than a half.
  for (const ggml_type type : exact_types()) {
    if (type == GGML_TYPE_BF16) continue;
    for (const int step : {1, 3, 5, 6, 7, -7, -3}) {
      std::vector<float> numbers(256);
      numbers[70] = static_cast<float>(step) * 1365 * 0x1p-12f;  // 11 digits
      numbers[200] = static_cast<float>(-step) * 1365 * 0x1p-12f;
      std::vector<std::byte> bytes(ggml_row_size(type, 256));
      EXPECT_TRUE(type == GGML_TYPE_F16 || encode_exactly(type, numbers, bytes)) << ggml_type_name(type) << " " << step;
    }
  }
}

TEST(ExactEncoding, ZerosAreHeldByAll) {
  for (const ggml_type type : exact_types()) {
    std::vector<std::byte> bytes(ggml_row_size(type, 512), std::byte{0xff});
    ASSERT_TRUE(encode_exactly(type, std::vector<float>(512), bytes)) << ggml_type_name(type);
    EXPECT_EQ(decode(type, bytes.data(), 512), std::vector<float>(512)) << ggml_type_name(type);
  }
}

TEST(ExactEncoding, NumbersThatWouldBeRoundedAreRefused) {
  Random random(9);
  std::vector<float> numbers(256);
  for (float& number : numbers) number = random.gaussian();
  for (const ggml_type type : exact_types()) {
    std::vector<std::byte> bytes(ggml_row_size(type, 256));
    EXPECT_EQ(encode_exactly(type, numbers, bytes), type == GGML_TYPE_F32) << ggml_type_name(type);
  }
  numbers.assign(256, std::numeric_limits<float>::infinity());
  std::vector<std::byte> bytes(ggml_row_size(GGML_TYPE_Q8_0, 256));
  EXPECT_FALSE(encode_exactly(GGML_TYPE_Q8_0, numbers, bytes));
}

TEST(ExactEncoding, TypesAreNamedInAnyCase) {
  EXPECT_EQ(parse_exact_type("Q4_K"), GGML_TYPE_Q4_K);
  EXPECT_EQ(parse_exact_type("q4_k"), GGML_TYPE_Q4_K);
  EXPECT_EQ(parse_exact_type("F16"), GGML_TYPE_F16);
  EXPECT_FALSE(parse_exact_type("q3_K"));
  EXPECT_FALSE(parse_exact_type(""));
}

}  // namespace
}  // namespace spillway::inflate
