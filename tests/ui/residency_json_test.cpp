// SPDX-License-Identifier: MIT
#include "serve/ui/residency_json.h"

#include <gtest/gtest.h>

namespace spillway {
namespace {

TEST(ResidencyJson, IsWhatTheDocumentSays) {
  Residency residency{.n_expert = 4, .layers = {}};
  residency.layers.push_back(
      {.device_bytes = 0, .ram_bytes = 300, .disk_bytes = 100, .experts = "grpd", .heat = "9510"});
  EXPECT_EQ(residency_json("m:7b", residency),
            R"({"model":"m:7b","n_layer":1,"n_expert":4,"layers":[)"
            R"({"dense":{"gpu":0,"ram":300,"disk":100},"experts":"grpd","heat":"9510"}]})");
}

TEST(ResidencyJson, ADenseLayerHasNoExpertsAndNoHeat) {
  Residency residency;
  residency.layers.push_back({.device_bytes = 5, .ram_bytes = 0, .disk_bytes = 0, .experts = "", .heat = ""});
  EXPECT_EQ(residency_json("d", residency),
            R"({"model":"d","n_layer":1,"n_expert":0,"layers":[{"dense":{"gpu":5,"ram":0,"disk":0},"experts":""}]})");
}

TEST(ResidencyJson, WhatIsLeftToTheKernelIsSaidToBe) {
  EXPECT_EQ(residency_json("x", {.n_expert = 0, .layers = {}, .page_cache = true}),
            R"({"model":"x","n_layer":0,"n_expert":0,"page_cache":true,"layers":[]})");
  EXPECT_EQ(residency_json("x", {}), R"({"model":"x","n_layer":0,"n_expert":0,"layers":[]})");
}

}  // namespace
}  // namespace spillway
