// SPDX-License-Identifier: MIT
#include "probe/compute_probe.h"

#include <gtest/gtest.h>

#include "backend/llama_handles.h"
#include "base/bytes.h"
#include "probe/repack_probe.h"

namespace spillway {
namespace {

// Slower and faster than anything that could be measured.
constexpr double kNever_bytes_per_s = 1, kAtOnce_bytes_per_s = 1e18;

class ComputeSamplesTest : public testing::Test {
 protected:
  ComputeSamplesTest() { EXPECT_TRUE(start_llama().has_value()); }

  static std::optional<ComputeSamples> samples_after(double probed_bytes_per_s, const char* type = "q4_K") {
    MatmulRate probed{.type = type};
    probed.decode_bytes_per_s = probed_bytes_per_s;
    return ComputeSamples::open({.type = type, .matrix_bytes = MiB, .weights_bytes = 16 * MiB}, probed);
  }
};

TEST_F(ComputeSamplesTest, BeforeTheFirstSampleItIsWhatWasProbed) {
  const auto samples = samples_after(3e10);
  ASSERT_TRUE(samples);
  EXPECT_EQ(samples->decode_bytes_per_s(), 3e10);
}

TEST_F(ComputeSamplesTest, AProbeInABadOrLuckyMomentDoesNotCountAgainstTwoSamples) {
  for (const double probed : {kNever_bytes_per_s, kAtOnce_bytes_per_s}) {
    auto samples = samples_after(probed);
    ASSERT_TRUE(samples);
    samples->take_sample();
    samples->take_sample();
    EXPECT_GT(samples->decode_bytes_per_s(), 1e7) << probed;
    EXPECT_LT(samples->decode_bytes_per_s(), 1e13) << probed;
  }
}

TEST_F(ComputeSamplesTest, WhatWasNotMeasuredIsNotSampled) {
  EXPECT_FALSE(samples_after(0));
  EXPECT_FALSE(samples_after(3e10, "no such type"));
}

TEST_F(ComputeSamplesTest, RepackedWeightsAreSampledToo) {
  MatmulRate probed{.type = "q4_K"};
  probed.decode_bytes_per_s = kNever_bytes_per_s;
  auto samples =
      ComputeSamples::open({.type = "q4_K", .matrix_bytes = MiB, .weights_bytes = 16 * MiB, .repacked = true}, probed);
  ASSERT_TRUE(samples);
  samples->take_sample();
  samples->take_sample();
  EXPECT_GT(samples->decode_bytes_per_s(), 1e7);
}

TEST(ComputeProbe, RepackedWeightsAreMeasuredForEveryType) {
  ASSERT_TRUE(start_llama().has_value());
  // Some have no other layout on any processor: they are measured as they are.
  for (const char* type : {"q4_K", "q8_0", "q4_0", "q6_K", "f16", "bf16", "iq4_nl", "mxfp4"}) {
    const MatmulRate rate = measure_compute({.type = type, .matrix_bytes = MiB, .has_experts = true, .repacked = true});
    EXPECT_GT(rate.decode_bytes_per_s, 0) << type;
    EXPECT_GT(rate.prefill_flops_per_s, 0) << type;
    EXPECT_GT(rate.expert_prefill_flops_per_s, 0) << type;
  }
}

TEST(RepackProbe, TypesWithAFormOfTheirOwnHaveARateAndOthersNone) {
  ASSERT_TRUE(start_llama().has_value());
  // Every x86-64 and ARM processor that libllama knows well has one for this type.
  const double bytes_per_s = measure_repacking(GGML_TYPE_Q4_0, 0.005);
  EXPECT_GT(bytes_per_s, 1e7);
  EXPECT_LT(bytes_per_s, 1e12);
  EXPECT_EQ(measure_repacking(GGML_TYPE_F32, 0.005), 0);
}

}  // namespace
}  // namespace spillway
