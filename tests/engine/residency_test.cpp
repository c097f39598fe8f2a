// SPDX-License-Identifier: MIT
#include "engine/residency.h"

#include <gtest/gtest.h>

#include "layout/layout.h"

namespace spillway {
namespace {

constexpr uint32_t kNone = Layout::kNoExtent;

// Two layers: a dense tensor of 1000 bytes each, and in layer 1 two expert tensors of 3 slices with a bias.
GgufModel two_layers() {
  GgufModel model;
  model.n_layer = 2;
  model.n_expert = 3;
  const auto add = [&](const char* name, int layer, uint64_t bytes, uint32_t slices) {
    TensorInfo tensor;
    tensor.name = name;
    tensor.layer = layer;
    tensor.range.bytes = bytes;
    tensor.slices = slices;
    model.tensors.push_back(tensor);
  };
  add("token_embd.weight", -1, 5000, 1);
  add("blk.0.attn_q.weight", 0, 1000, 1);
  add("blk.1.attn_q.weight", 1, 1000, 1);
  add("blk.1.ffn_up_exps.weight", 1, 3000, 3);
  add("blk.1.ffn_down_exps.weight", 1, 3000, 3);
  add("blk.1.ffn_up_exps.bias", 1, 30, 3);
  return model;
}

TEST(Residency, WhatIsLeftToTheKernelIsWhereTheKernelSays) {
  const GgufModel model = two_layers();
  const Residency residency = residency_of({.model = model,
                                            .on_device = {false, false, false, false, false, false},
                                            .first_extent = {},
                                            .resident = {},
                                            .heat = {},
                                            .held_bytes = [](const TensorInfo& tensor, uint32_t slice) -> uint64_t {
                                              if (tensor.layer == 0) return 250;
                                              return slice == 0 ? tensor.slice_bytes() : slice == 1 ? 500 : 0;
                                            }});
  EXPECT_TRUE(residency.page_cache);
  EXPECT_EQ(residency.layers[0].ram_bytes, 250u);
  EXPECT_EQ(residency.layers[0].disk_bytes, 750u);
  EXPECT_EQ(residency.layers[1].experts, "rpd");
}

TEST(Residency, WhatDoesNotStreamIsInRamOrOnADevice) {
  const GgufModel model = two_layers();
  const Residency residency = residency_of({.model = model,
                                            .on_device = {false, false, true, true, true, true},
                                            .first_extent = {},
                                            .resident = {},
                                            .heat = {}});
  ASSERT_EQ(residency.layers.size(), 2u);
  EXPECT_EQ(residency.n_expert, 3u);
  EXPECT_EQ(residency.layers[0].ram_bytes, 1000u);
  EXPECT_EQ(residency.layers[0].experts, "");
  EXPECT_EQ(residency.layers[1].device_bytes, 1000u);
  EXPECT_EQ(residency.layers[1].ram_bytes + residency.layers[1].disk_bytes, 0u);
  EXPECT_EQ(residency.layers[1].experts, "ggg");
  EXPECT_EQ(residency.layers[1].heat, "");
}

TEST(Residency, AnExpertIsWhereMostOfItsSlicesAreAndItsBiasDoesNotCount) {
  const GgufModel model = two_layers();
  const std::vector<uint32_t> first_extent = {kNone, 0, kNone, 1, 4, kNone};
  const std::vector<double> heat = {7, 4, 1, 0, 5, 0, 0};
  const Residency residency = residency_of({.model = model,
                                            .on_device = {},
                                            .first_extent = first_extent,
                                            .resident = {false, true, true, false, true, false, false},
                                            .heat = heat});
  EXPECT_EQ(residency.layers[0].disk_bytes, 1000u);
  EXPECT_EQ(residency.layers[1].ram_bytes, 1000u);
  EXPECT_EQ(residency.layers[1].experts, "rpd");
  EXPECT_EQ(residency.layers[1].heat, "910");
  EXPECT_EQ(residency.layers[0].heat, "");
}

TEST(Residency, AnExpertPartlyOnADeviceAndPartlyInRamNeedsNoDisk) {
  const GgufModel model = two_layers();
  const Residency residency = residency_of({.model = model,
                                            .on_device = {false, false, false, true, false, false},
                                            .first_extent = {},
                                            .resident = {},
                                            .heat = {}});
  EXPECT_EQ(residency.layers[1].experts, "rrr");
}

TEST(Residency, LayersThatTheModelDoesNotCountAreLeftOut) {
  GgufModel model = two_layers();
  model.tensors[1].layer = 1'000'000'000;
  const Residency residency =
      residency_of({.model = model, .on_device = {}, .first_extent = {}, .resident = {}, .heat = {}});
  EXPECT_EQ(residency.layers.size(), 2u);
  EXPECT_EQ(residency.layers[0].ram_bytes, 0u);
}

}  // namespace
}  // namespace spillway
