// SPDX-License-Identifier: MIT
#include "base/json_reader.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace spillway {
namespace {

using testing::HasSubstr;

// libstdc++'s std::hash of texts, eight bytes at a time: state = (state ^ mixed(word)) * kMultiplier. Whatever two
// words make of a state, there is a word for each behind which the states are one again; of letters, after some tries.
constexpr uint64_t kMultiplier = (uint64_t{0xc6a4a793} << 32) + 0x5bd1e995, kSeed = 0xc70f6907;
uint64_t shifted(uint64_t word) { return word ^ (word >> 47); }  // its own inverse
uint64_t mixed(uint64_t word) { return shifted(word * kMultiplier) * kMultiplier; }
uint64_t unmixed(uint64_t word) {
  uint64_t inverse = kMultiplier;
  for (int i = 0; i < 6; ++i) inverse *= 2 - kMultiplier * inverse;  // Newton: twice as many bits each time
  return shifted(word * inverse) * inverse;
}

uint64_t word_of(const std::string& text) {
  uint64_t word = 0;
  std::memcpy(&word, text.data(), sizeof word);
  return word;
}
std::string text_of(uint64_t word) {
  std::string text(sizeof word, '\0');
  std::memcpy(text.data(), &word, sizeof word);
  return text;
}

bool is_plain(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c <= '~' && c != '"' && c != '\\'; });
}

// 2^`n_bits` names with one hash: each bit chooses between two texts of 16 bytes.
std::vector<std::string> names_with_one_hash(unsigned n_bits) {
  std::mt19937_64 random(1);
  const auto letters = [&random] {
    std::string text(sizeof(uint64_t), '\0');
    for (char& c : text) c = static_cast<char>('a' + random() % 26);
    return text;
  };
  uint64_t state = kSeed ^ (2 * sizeof(uint64_t) * n_bits * kMultiplier);
  std::vector<std::array<std::string, 2>> texts;
  for (unsigned bit = 0; bit < n_bits; ++bit) {
    const std::string one = letters(), other = letters();
    const uint64_t after_one = (state ^ mixed(word_of(one))) * kMultiplier;
    const uint64_t after_other = (state ^ mixed(word_of(other))) * kMultiplier;
    std::string behind_one, behind_other;
    do {
      behind_one = letters();
      behind_other = text_of(unmixed(mixed(word_of(behind_one)) ^ after_one ^ after_other));
    } while (!is_plain(behind_other));
    texts.push_back({one + behind_one, other + behind_other});
    state = (after_one ^ mixed(word_of(behind_one))) * kMultiplier;
  }
  std::vector<std::string> names(size_t{1} << n_bits);
  for (size_t number = 0; number < names.size(); ++number)
    for (unsigned bit = 0; bit < n_bits; ++bit) names[number] += texts[bit][number >> bit & 1];
  return names;
}

// In a table of hashes each would be compared with all before it: these took a minute.
TEST(ReadJson, NamesWithOneHashAreReadAsOthersAre) {
  const std::vector<std::string> names = names_with_one_hash(16);
#if defined(__GLIBCXX__)
  EXPECT_EQ(std::hash<std::string_view>()(names.front()), std::hash<std::string_view>()(names.back()));
#endif
  std::string text = "{";
  for (size_t i = 0; i < names.size(); ++i) text += '"' + names[i] + "\":" + std::to_string(i) + ',';
  text += '"' + names[40'000] + "\":-1}";
  const auto json = read_json(text);
  ASSERT_TRUE(json) << json.error().message();
  ASSERT_EQ(json->size(), names.size());
  size_t i = 0;
  for (const auto& [name, value] : json->items()) {
    ASSERT_EQ(name, names[i]);
    ASSERT_EQ(value, i == 40'000 ? -1 : static_cast<int64_t>(i));
    ++i;
  }
}

TEST(ReadJson, OfTwoMembersWithOneNameTheLastValueCountsAtTheFirstPlace) {
  for (const int n : {2, 100}) {
    std::string text = R"({"a":1)";
    for (int i = 0; i < n; ++i) text += ",\"m" + std::to_string(i) + "\":0";
    const auto json = read_json(text + R"(,"a":2})");
    ASSERT_TRUE(json);
    EXPECT_EQ(json->size(), static_cast<size_t>(n) + 1);
    EXPECT_EQ(json->begin().key(), "a");
    EXPECT_EQ(json->begin().value(), 2);
  }
}

TEST(ReadJson, DepthAndNumberAreBounded) {
  EXPECT_TRUE(read_json("[[1]]", {.depth_max = 2}));
  EXPECT_THAT(read_json("[[[1]]]", {.depth_max = 2}).error().message(), HasSubstr("nested too deeply"));
  EXPECT_TRUE(read_json("[1,2]", {.values_max = 3}));
  EXPECT_THAT(read_json("[1,2,3]", {.values_max = 3}).error().message(), HasSubstr("more than 3 values"));
}

}  // namespace
}  // namespace spillway
