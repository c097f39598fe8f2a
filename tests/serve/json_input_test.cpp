// SPDX-License-Identifier: MIT
#include "serve/json_input.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace spillway {
namespace {

TEST(JsonInput, DurationsAreAsGoWritesThem) {
  EXPECT_EQ(*parse_duration_s("5m"), 300);
  EXPECT_EQ(*parse_duration_s("1h30m"), 5400);
  EXPECT_EQ(*parse_duration_s("-1m"), -60);
  EXPECT_DOUBLE_EQ(*parse_duration_s("300ms"), 0.3);
  EXPECT_EQ(*parse_duration_s("1.5s"), 1.5);
  EXPECT_EQ(*parse_duration_s("0"), 0);
  for (const char* text : {"", "300", "5 m", "m", "-", "1x", "1.2.3s", "5m3", "--5m"})
    EXPECT_FALSE(parse_duration_s(text)) << text;
}

TEST(JsonInput, KeepAliveIsSecondsOrADurationAndNegativeIsForEver) {
  const auto keep = [](const char* text) { return keep_alive_field(*parse_json_object(text)); };
  EXPECT_EQ(keep(R"({"keep_alive":1800})")->value(), 1800);
  EXPECT_EQ(keep(R"({"keep_alive":"10m"})")->value(), 600);
  EXPECT_TRUE(std::isinf(keep(R"({"keep_alive":-1})")->value()));
  EXPECT_TRUE(std::isinf(keep(R"({"keep_alive":"-1s"})")->value()));
  EXPECT_FALSE(keep("{}")->has_value());
  EXPECT_FALSE(keep(R"({"keep_alive":"300"})"));
  EXPECT_FALSE(keep(R"({"keep_alive":[]})"));
}

TEST(JsonInput, FieldNamesMatchWithoutRegardToCaseButExactOnesWin) {
  const Json json = *parse_json_object(R"({"MODEL":"a","Stream":true,"stream":false})");
  EXPECT_EQ(**string_field(json, "model"), "a");
  EXPECT_EQ(**bool_field(json, "stream"), false);
}

TEST(JsonInput, WrongTypesAreErrorsAndNullIsAbsent) {
  const Json json = *parse_json_object(R"({"a":null,"b":1,"c":"x","d":2.5,"e":5.0,"f":18446744073709551615})");
  EXPECT_FALSE(string_field(json, "a")->has_value());
  EXPECT_FALSE(string_field(json, "b"));
  EXPECT_FALSE(integer_field(json, "c"));
  EXPECT_FALSE(integer_field(json, "d"));
  EXPECT_EQ(**integer_field(json, "e"), 5);
  EXPECT_FALSE(integer_field(json, "f"));
}

TEST(JsonInput, WhatIsNoObjectIsRefused) {
  EXPECT_EQ(parse_json_object(" \n").error().message(), "missing request body");
  for (const std::string text : {"[]", "1", "{", "{\"a\":\"\xff\"}", "nul"})
    EXPECT_FALSE(parse_json_object(text)) << text;
  EXPECT_FALSE(parse_json_object("{\"a\":" + std::string(100000, '[')));
}

TEST(JsonInput, RandomBytesNeverDoMoreThanFail) {
  std::mt19937 random(7);
  const std::string alphabet = "{}[]\",:\\0123456789.eE+-truefalsn \n\xff\xc3";
  for (int i = 0; i < 20000; ++i) {
    std::string text = "{";
    for (size_t n = random() % 30; n > 0; --n) text += alphabet[random() % alphabet.size()];
    const auto json = parse_json_object(text);
    if (json) {
      EXPECT_TRUE(json->is_object());
    }
  }
}

TEST(JsonInput, TimesHaveNineDigits) {
  EXPECT_EQ(rfc3339(1700000000.5), "2023-11-14T22:13:20.500000000Z");
  EXPECT_EQ(rfc3339_ns(1700000000123456789), "2023-11-14T22:13:20.123456789Z");
  EXPECT_EQ(rfc3339(INFINITY).substr(0, 4), "2261");
}

TEST(JsonInput, Base64IsThePublishedOne) {
  EXPECT_EQ(base64(""), "");
  EXPECT_EQ(base64("f"), "Zg==");
  EXPECT_EQ(base64("fo"), "Zm8=");
  EXPECT_EQ(base64("foobar"), "Zm9vYmFy");
}

}  // namespace
}  // namespace spillway
