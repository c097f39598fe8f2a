// SPDX-License-Identifier: MIT
#include "cli/model_table.h"

#include <gmock/gmock.h>

namespace spillway {
namespace {

constexpr int64_t kSecond_ns = 1'000'000'000;

TEST(ModelTable, TimesAreToldInTheLargestUnitThatFits) {
  const int64_t now = 1'800'000'000 * kSecond_ns;
  const auto ago = [&](int64_t seconds) { return time_ago(now - seconds * kSecond_ns, now); };
  EXPECT_EQ(ago(0), "just now");
  EXPECT_EQ(ago(-5), "just now");  // a clock that was set back
  EXPECT_EQ(ago(59), "just now");
  EXPECT_EQ(ago(60), "1 minute ago");
  EXPECT_EQ(ago(7199), "1 hour ago");
  EXPECT_EQ(ago(2 * 86400), "2 days ago");
  EXPECT_EQ(ago(14 * 86400), "2 weeks ago");
  EXPECT_EQ(ago(800 * 86400), "2 years ago");
}

TEST(ModelTable, MomentsAreUtc) {
  EXPECT_EQ(utc_text(0), "1970-01-01T00:00:00Z");
  EXPECT_EQ(utc_text(1'795'238'696 * kSecond_ns + 5), "2026-11-21T05:24:56Z");
}

TEST(ModelTable, ColumnsAreAsWideAsTheirWidestCell) {
  ModelEntry short_name, long_name;
  short_name.name = parse_model_name("a").value();
  long_name.name = parse_model_name("a-longer-name:70b").value();
  for (ModelEntry* entry : {&short_name, &long_name}) {
    entry->digest = std::string(64, 'c');
    entry->size_bytes = 2048;
    entry->details.parameter_size = "7B";
    entry->details.quantization_level = "Q4_K_M";
  }
  EXPECT_EQ(models_table({short_name, long_name}, 60 * kSecond_ns),
            "NAME               ID            SIZE   PARAMS  QUANT   MODIFIED      FROM\n"
            "a:latest           cccccccccccc  2 KiB  7B      Q4_K_M  1 minute ago  spillway\n"
            "a-longer-name:70b  cccccccccccc  2 KiB  7B      Q4_K_M  1 minute ago  spillway");
}

TEST(ModelTable, WhatAFileSaysIsTextAndNoCommandToTheTerminal) {
  ModelDescription model;
  model.entry.name = parse_model_name("a").value();
  model.extras.licenses = {"MIT\x1b]0;mine\x07\nline 2\nline 3"};
  model.extras.system = "be\x1b[2Jbrief";
  const std::string text = description_text(model);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_NE(text.find("MIT?]0;mine?\n  line 2"), std::string::npos) << text;
  EXPECT_NE(text.find("be?[2Jbrief"), std::string::npos) << text;
}

}  // namespace
}  // namespace spillway
