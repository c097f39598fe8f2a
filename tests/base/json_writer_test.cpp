// SPDX-License-Identifier: MIT
#include "base/json_writer.h"

#include <gtest/gtest.h>

namespace spillway {
namespace {

TEST(WriteJson, IsOneLineInTheOrderOfTheObject) {
  EXPECT_EQ(write_json(nlohmann::ordered_json{{"b", 1}, {"a", {true, nullptr}}}), R"({"b":1,"a":[true,null]})");
  EXPECT_EQ(write_json(nlohmann::json("é")), "\"é\"");
}

TEST(WriteJson, BytesThatAreNotUtf8BecomeReplacementCharacters) {
  EXPECT_EQ(write_json(nlohmann::json("a\xff"
                                      "b")),
            "\"a\xef\xbf\xbd"
            "b\"");
}

}  // namespace
}  // namespace spillway
