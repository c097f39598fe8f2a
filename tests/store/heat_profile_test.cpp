// SPDX-License-Identifier: MIT
#include "store/heat_profile.h"

#include <gmock/gmock.h>
#include <stdlib.h>

#include <cmath>
#include <limits>
#include <random>

#include "../os/temp_folder.h"

namespace spillway {
namespace {

using testing::DoubleNear;
using testing::Optional;
using testing::Pointwise;
using testing::SizeIs;

const std::string kKey = "qwen3moe 17203 00c0ffee";

// `text` with the checksum of its lines put right, so that only what they say is judged.
std::string signed_profile(const std::string& key, const std::string& values) {
  const std::string with_one = encode_heat(key, {});
  const std::string head = with_one.substr(0, with_one.rfind("sum "));
  uint64_t hash = 14695981039346656037ull;
  for (const char c : head + values) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ull;
  char sum[32];
  std::snprintf(sum, sizeof sum, "sum %016llx\n", static_cast<unsigned long long>(hash));
  return head + values + sum;
}

TEST(HeatProfile, ComesBackWithinHalfAPercent) {
  TRACE_SEED();
  std::mt19937_64 random(test_seed());
  for (const size_t n : {0u, 1u, 2u, 3000u}) {
    std::vector<double> heat;
    for (size_t i = 0; i < n; ++i)
      heat.push_back(random() % 4 == 0 ? 0.0 : std::exp2(static_cast<double>(random() % 60) - 30));
    const auto back = decode_heat(encode_heat(kKey, heat), kKey, n);
    ASSERT_TRUE(back);
    ASSERT_EQ(back->size(), n);
    for (size_t i = 0; i < n; ++i) EXPECT_THAT((*back)[i], DoubleNear(heat[i], heat[i] * 0.005));
  }
}

TEST(HeatProfile, OneDamagedByteAnywhereIsIgnoredOrHarmless) {
  const std::vector<double> heat{0, 1, 0.25, 117, 3e-9};
  const std::string text = encode_heat(kKey, heat);
  const auto whole = decode_heat(text, kKey, heat.size());
  ASSERT_TRUE(whole);
  for (size_t at = 0; at < text.size(); ++at) {
    for (int value = 0; value < 256; ++value) {
      std::string damaged = text;
      damaged[at] = static_cast<char>(value);
      const auto read = decode_heat(damaged, kKey, heat.size());
      EXPECT_TRUE(!read || *read == *whole) << "byte " << at << " = " << value;
    }
    EXPECT_FALSE(decode_heat(text.substr(0, at), kKey, heat.size())) << "cut at " << at;
    EXPECT_FALSE(decode_heat(text.substr(0, at) + text.substr(at + 1), kKey, heat.size())) << "without byte " << at;
  }
}

TEST(HeatProfile, AnotherModelsProfileIsIgnored) {
  const std::string text = encode_heat(kKey, std::vector<double>{1, 2, 3});
  EXPECT_FALSE(decode_heat(text, "qwen3moe 17203 00c0fffe", 3));
  EXPECT_FALSE(decode_heat(text, "", 3));
}

TEST(HeatProfile, AnotherNumberOfExtentsIsIgnored) {
  const std::string text = encode_heat(kKey, std::vector<double>{1, 2, 3});
  EXPECT_FALSE(decode_heat(text, kKey, 2));
  EXPECT_FALSE(decode_heat(text, kKey, 4));
  EXPECT_THAT(decode_heat(text, kKey, 3), Optional(SizeIs(3)));
}

TEST(HeatProfile, ValuesThatAreNoHeatAreIgnoredEvenWithARightChecksum) {
  EXPECT_TRUE(decode_heat(signed_profile(kKey, "1\n0.5\n"), kKey, 2));
  for (const char* bad : {"nan", "-nan", "inf", "-inf", "-1", "-0.001", "1e999", "", " 1", "1 ", "0x10", "1,5", "one"})
    EXPECT_FALSE(decode_heat(signed_profile(kKey, std::string("1\n") + bad + "\n"), kKey, 2)) << "'" << bad << "'";
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const double bad : {kNan, kInfinity, -1.0})
    EXPECT_FALSE(decode_heat(encode_heat(kKey, {{1, bad}}), kKey, 2)) << bad;
}

TEST(HeatProfile, IsKeptInTheCacheFolderPerModel) {
  TempFolder folder;
  ASSERT_EQ(::setenv("SPILLWAY_CACHE_DIR", folder.at("cache").c_str(), 1), 0);
  EXPECT_FALSE(load_heat(kKey, 2));
  ASSERT_TRUE(save_heat(kKey, std::vector<double>{4, 5}));
  ASSERT_TRUE(save_heat("another", std::vector<double>{6}));
  EXPECT_THAT(load_heat(kKey, 2), Optional(Pointwise(testing::Eq(), {4, 5})));
  EXPECT_THAT(load_heat("another", 1), Optional(Pointwise(testing::Eq(), {6})));
  EXPECT_FALSE(load_heat(kKey, 3));
  const std::filesystem::directory_iterator files(folder.at("cache") + "/heat");
  std::filesystem::resize_file(files->path(), 1 << 20);  // no heat of so few is as large: it is not read
  EXPECT_TRUE(load_heat(kKey, 2).has_value() != load_heat("another", 1).has_value());
  ASSERT_TRUE(save_heat(kKey, std::vector<double>{7, 8}));
  EXPECT_THAT(load_heat(kKey, 2), Optional(Pointwise(testing::Eq(), {7, 8})));
  ::unsetenv("SPILLWAY_CACHE_DIR");
}

}  // namespace
}  // namespace spillway
