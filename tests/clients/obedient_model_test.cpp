// SPDX-License-Identifier: MIT
#include "clients/obedient_model.h"

#include <gtest/gtest.h>

namespace spillway {
namespace {

TEST(ObedientModel, CallsWhatItIsToldTo) {
  EXPECT_EQ(obey(R"(<|system|>S<|user|>CALL add {"a": {"b": "}"}} and CALL now {}<assistant>)"),
            "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": {\"b\": \"}\"}}}\n</tool_call>"
            "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>");
  EXPECT_EQ(obey("<|user|>CALL me<assistant>"), "Heard: CALL me");
}

TEST(ObedientModel, SaysWhatTheToolAnsweredToTheLastCallOnly) {
  const std::string first = "<|user|>CALL add {}<|assistant|><tool_call>{}</tool_call><|tool|>3";
  EXPECT_EQ(obey(first + "<assistant>"), "The tool said: 3");
  EXPECT_EQ(obey(first + "<|tool|>4<|user|>it is noon<assistant>"), "The tool said: 3; 4");
  EXPECT_EQ(obey(first + "<|assistant|>3 it is<|user|>COUNT 2<assistant>"), "1 2");
}

TEST(ObedientModel, ThinksUnlessItMayNot) {
  EXPECT_EQ(obey(R"(<|user|>THINK "hm" go<assistant>)"), R"(<think>hm</think>Heard: THINK "hm" go)");
  EXPECT_EQ(obey(R"(<|user|>THINK "hm" go<no_thinking><assistant>)"), R"(Heard: THINK "hm" go)");
  EXPECT_EQ(obey("<|user|>x<|assistant|><think>a b</think>y<|user|>RECALL<assistant>"), "I thought: a b");
}

}  // namespace
}  // namespace spillway
