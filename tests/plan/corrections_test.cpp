// SPDX-License-Identifier: MIT
#include "plan/corrections.h"

#include <gmock/gmock.h>

#include "base/bytes.h"
#include "plan_models.h"

namespace spillway {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

Correction run(const std::string& mode, uint64_t memory_bytes, double predicted, double measured, int64_t when) {
  return {"model", "machine", mode, memory_bytes, predicted, measured, when};
}

TEST(Corrections, OnlyAContradictionByMoreThanAQuarterIsKept) {
  EXPECT_THAT(remember({}, run("stream", GiB, 4, 5, 1)), IsEmpty());
  EXPECT_THAT(remember({}, run("stream", GiB, 4, 3, 1)), IsEmpty());
  EXPECT_THAT(remember({}, run("stream", GiB, 4, 5.1, 1)), SizeIs(1));
  EXPECT_THAT(remember({}, run("stream", GiB, 4, 2.9, 1)), SizeIs(1));
  EXPECT_THAT(remember({}, run("stream", GiB, 0, 3, 1)), IsEmpty()) << "nothing was predicted";
}

TEST(Corrections, ARunThatAgreesTakesBackWhatAnEarlierOneSaid) {
  const auto wrong = remember({}, run("stream", GiB, 4, 2, 1));
  EXPECT_THAT(remember(wrong, run("stream", GiB, 4, 4, 2)), IsEmpty());
  EXPECT_THAT(remember(wrong, run("stream", 4 * GiB, 4, 4, 2)), SizeIs(1)) << "another budget";
  EXPECT_THAT(remember(wrong, run("mmap", GiB, 4, 4, 2)), SizeIs(1)) << "another mode";
}

TEST(Corrections, TheNewestOfAboutTheSameMemoryIsFound) {
  std::vector<Correction> all = {run("stream", GiB, 4, 1, 5), run("stream", GiB, 4, 2, 7),
                                 run("stream", 8 * GiB, 4, 3, 9)};
  const auto found = find_correction(all, "model", "machine", "stream", GiB * 11 / 10);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->measured_tok_per_s, 2);
  EXPECT_DOUBLE_EQ(found->factor(), 0.5);
  EXPECT_FALSE(find_correction(all, "model", "machine", "stream", 3 * GiB));
  EXPECT_FALSE(find_correction(all, "model", "another", "stream", GiB));
  EXPECT_FALSE(find_correction(all, "another", "machine", "stream", GiB));
}

TEST(Corrections, NothingIsBelievedToBeThatMuchFaster) {
  EXPECT_DOUBLE_EQ(run("mmap", GiB, 0.27, 8.7, 1).factor(), kCorrectionMax) << "all of it was in the page cache";
  EXPECT_DOUBLE_EQ(run("stream", GiB, 8, 0.25, 1).factor(), 0.25 / 8) << "that is how slow it was";
}

TEST(Corrections, APageCacheBeyondTheBudgetTeachesNothing) {
  EXPECT_TRUE(cache_exceeds_budget(4 * GiB, 3 * GiB, 20 * GiB));
  EXPECT_TRUE(cache_exceeds_budget(4 * GiB, 3 * GiB, 4 * GiB + 1));
  EXPECT_FALSE(cache_exceeds_budget(4 * GiB, 3 * GiB, 4 * GiB)) << "only the headroom more";
  EXPECT_FALSE(cache_exceeds_budget(4 * GiB, 3 * GiB, 2 * GiB)) << "others took it";
  EXPECT_FALSE(cache_exceeds_budget(4 * GiB, 5 * GiB, 20 * GiB)) << "all of it fits the budget";
}

TEST(Corrections, ReadBackEqualAndRefuseEverythingElse) {
  const std::vector<Correction> all = {run("stream", GiB, 4, 1.25, 5), run("mmap", 2 * GiB, 0.1, 0.3, 6)};
  const std::string text = encode_corrections(all);
  const auto read = decode_corrections(text);
  ASSERT_TRUE(read);
  EXPECT_EQ(*read, all);
  for (const char* bad : {"", "[]", "{", "{\"format\": 2, \"corrections\": []}", "{\"format\": 1}",
                          "{\"format\": 1, \"corrections\": [1]}", "{\"format\": 1, \"corrections\": [{}]}"})
    EXPECT_FALSE(decode_corrections(bad)) << bad;
  for (size_t i = 0; i < text.size(); i += 7) {
    const auto cut = decode_corrections(text.substr(0, i));
    EXPECT_FALSE(cut) << i;
  }
  std::string zero = text;
  zero.replace(zero.find("1.25"), 4, "0.00");
  EXPECT_FALSE(decode_corrections(zero)) << "no such speed";
}

TEST(Corrections, OnlyTheNewestAreKept) {
  std::vector<Correction> all;
  for (int i = 0; i < 300; ++i)
    all = remember(std::move(all), {fmt::format("model {}", i), "machine", "stream", GiB, 4, 1, i});
  EXPECT_THAT(all, SizeIs(200));
  EXPECT_EQ(all.front().model, "model 299");
}

TEST(Corrections, AModelIsKnownByItsTensors) {
  const GgufModel one = make_shape(kDense8b);
  GgufModel other = make_shape(kDense8b);
  EXPECT_EQ(model_key(one), model_key(other));
  other.tensors.back().range.offset += 32;
  EXPECT_NE(model_key(one), model_key(other));
}

}  // namespace
}  // namespace spillway
