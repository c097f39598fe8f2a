// SPDX-License-Identifier: MIT
#include "plan/repacking.h"

#include <gtest/gtest.h>

#include "base/bytes.h"
#include "plan_models.h"

namespace spillway {
namespace {

GgufModel weights_of_types(std::vector<std::pair<const char*, uint64_t>> types) {
  GgufModel model;
  model.has_output = true;
  for (const auto& [type, bytes] : types) {
    TensorInfo tensor;
    tensor.name = "blk.0.ffn_up.weight";
    tensor.type = type;
    tensor.role = TensorRole::kFfn;
    tensor.range = {0, bytes};
    model.tensors.push_back(tensor);
  }
  return model;
}

std::vector<MatmulRate> rates_with(double q4_k_bytes_per_s) {
  MatmulRate q4_k{.type = "q4_K"}, q6_k{.type = "q6_K"};
  q4_k.repack_bytes_per_s = q4_k_bytes_per_s;
  return {q4_k, q6_k};
}

TEST(Repacking, TakesWhatItsTypesTakeByTheirShares) {
  EXPECT_DOUBLE_EQ(repack_s_per_byte(weights_of_types({{"q4_K", GiB}}), rates_with(3e9)), 1 / 3e9);
  // One that was measured, without a form, beside one that has one.
  EXPECT_DOUBLE_EQ(repack_s_per_byte(weights_of_types({{"q4_K", GiB}, {"q6_K", 3 * GiB}}), rates_with(3e9)),
                   0.25 / 3e9);
  EXPECT_EQ(repack_s_per_byte(weights_of_types({{"q6_K", GiB}}), rates_with(3e9)), 0);
  EXPECT_EQ(repack_s_per_byte(weights_of_types({}), rates_with(3e9)), 0);
}

TEST(Repacking, UnusedTensorsAndTablesOfRowsAreNotRepacked) {
  GgufModel model = weights_of_types({{"q4_K", GiB}, {"q4_K", GiB}, {"q6_K", GiB}});
  model.tensors[1].unused = true;
  EXPECT_DOUBLE_EQ(repack_s_per_byte(model, rates_with(3e9)), 0.5 / 3e9);
}

TEST(Repacking, WhatAProfileDoesNotTellIsThatOfATypicalMachine) {
  const double typical = repack_s_per_byte(weights_of_types({{"q4_K", GiB}}), {});
  EXPECT_GT(typical, 1 / 4e9);
  EXPECT_LT(typical, 1 / 1e9);
  // A profile of before repacking was measured tells nothing of it.
  EXPECT_EQ(repack_s_per_byte(weights_of_types({{"q4_K", GiB}}), rates_with(0)), typical);
  EXPECT_EQ(repack_s_per_byte(weights_of_types({{"f16", GiB}}), {}), 0);
  EXPECT_GT(repack_s_per_byte(weights_of_types({{"mxfp4", GiB}}), rates_with(3e9)), 0);
}

TEST(Repacking, HalfOfTheCoresDoIt) {
  EXPECT_EQ(repacking_threads(1), 1u);
  EXPECT_EQ(repacking_threads(2), 1u);
  EXPECT_EQ(repacking_threads(16), 8u);
}

}  // namespace
}  // namespace spillway
