// SPDX-License-Identifier: MIT
#include "plan/cost_model.h"

#include <gmock/gmock.h>

#include "base/bytes.h"
#include "plan/expert_locality.h"
#include "plan/rates.h"

namespace spillway {
namespace {

using testing::HasSubstr;

// Figures measured on the project's machine within 2 GiB, from docs/benchmarks.md.
constexpr DiskRates kBenchDisk{
    .sequential_bytes_per_s = 2.44 * GiB, .scattered_bytes_per_s = 2.44 * GiB, .read_bytes = 1.0 * MiB};

const HostWeights kBenchMoe{.dense_bytes = 0.2 * GiB,
                            .expert_bytes = 4.43 * GiB,
                            .expert_token_bytes = 1.107 * GiB,
                            .n_expert = 8,
                            .n_expert_used = 2,
                            .n_expert_layers = 24,
                            .n_router_layers = 24};

TEST(CostModel, ReproducesTheMeasuredMixtureOfExpertsAtFourBudgets) {
  const ComputeCost compute{.host_token_s = 0.054, .host_expert_token_s = 0.046, .n_pass_tokens = 512, .n_cores = 2};
  struct Measured {
    double pool_bytes, disk_bytes_per_s, hit_rate, bytes_read, tok_per_s;  // medians of four runs, 16 tokens each
  };
  for (const Measured& run : {Measured{1.19 * GiB, 3.07e9, 0.40, 765e6, 3.20},
                              {1.86 * GiB, 2.95e9, 0.61, 588e6, 4.22},
                              {2.54 * GiB, 2.85e9, 0.75, 381e6, 6.22},
                              {3.44 * GiB, 3.00e9, 0.92, 173e6, 10.19}}) {
    const DiskRates disk{run.disk_bytes_per_s, run.disk_bytes_per_s, 512.0 * KiB};
    const Cost streamed = streamed_token(compute, kBenchMoe, {.pool_bytes = run.pool_bytes}, disk);
    EXPECT_NEAR(streamed.hit_rate, run.hit_rate, 0.05);
    EXPECT_NEAR(streamed.bytes_read, run.bytes_read, 0.16 * run.bytes_read);
    EXPECT_NEAR(1 / streamed.seconds, run.tok_per_s, 0.15 * run.tok_per_s);
    if (run.hit_rate > 0.9) continue;  // reading and computing take about as long
    EXPECT_THAT(streamed.bound, HasSubstr("from the disk, experts"));
  }
}

TEST(CostModel, RepackingTakesItsCoreAndHoldsBackADiskThatIsFaster) {
  ComputeCost compute{.host_token_s = 0.155, .n_pass_tokens = 512, .n_cores = 2};
  compute.pass_s = 10;
  const HostWeights host{.dense_bytes = 3.72 * GiB};
  const Streamed streamed{.ring_bytes = 2.16 * GiB};
  const Cost plain = streamed_token(compute, host, streamed, kBenchDisk);
  const Cost plain_pass = streamed_pass(compute, host, streamed, kBenchDisk);
  // Faster than the disk: only a disk-bound token is not slower, a pass that computes is.
  compute.repack_s_per_byte = 1 / 5e9;
  EXPECT_EQ(streamed_token(compute, host, streamed, kBenchDisk).seconds, plain.seconds);
  EXPECT_NEAR(streamed_pass(compute, host, streamed, kBenchDisk).seconds - plain_pass.seconds, 2.16 * GiB / 5e9 / 2,
              1e-3);
  // Slower: the token takes as long as one thread repacks; two threads halve it.
  compute.repack_s_per_byte = 1 / 1e9;
  EXPECT_NEAR(streamed_token(compute, host, streamed, kBenchDisk).seconds, 2.16 * GiB / 1e9, 1e-3);
  EXPECT_EQ(streamed_token(compute, host, streamed, kBenchDisk).bytes_read, plain.bytes_read);
  compute.n_repacking = 2;
  compute.n_cores = 64;
  EXPECT_NEAR(streamed_token(compute, host, streamed, kBenchDisk).seconds, 2.16 * GiB / 2e9, 1e-3);
  // Experts, too.
  const Streamed pool{.pool_bytes = 1.19 * GiB};
  compute.repack_s_per_byte = 0;
  const double moe_s = streamed_token(compute, kBenchMoe, pool, kBenchDisk).seconds;
  compute.repack_s_per_byte = 1 / 0.5e9;
  EXPECT_GT(streamed_token(compute, kBenchMoe, pool, kBenchDisk).seconds, 1.5 * moe_s);
}

TEST(CostModel, ReproducesTheMeasuredMixtureOfExpertsOverAMapping) {
  const ComputeCost compute{.host_token_s = 0.09, .host_expert_token_s = 0.08, .n_pass_tokens = 512, .n_cores = 2};
  const Cost mapped = mapped_token(compute, kBenchMoe, 1.75 * GiB, kBenchDisk);
  EXPECT_NEAR(1 / mapped.seconds, 0.30, 0.3 * 0.30);  // 0.30 tok/s
  EXPECT_THAT(mapped.bound, HasSubstr("page faults"));
}

TEST(CostModel, ReproducesTheMeasuredDenseModel) {
  const ComputeCost compute{.host_token_s = 0.155, .n_pass_tokens = 512, .n_cores = 2};
  const HostWeights host{.dense_bytes = 3.72 * GiB};
  const Cost streamed = streamed_token(compute, host, {.ring_bytes = 2.16 * GiB}, kBenchDisk);
  EXPECT_NEAR(1 / streamed.seconds, 1.13, 0.15 * 1.13);
  const Cost mapped = mapped_token(compute, host, 1.5 * GiB, kBenchDisk);
  EXPECT_NEAR(1 / mapped.seconds, 0.57, 0.15 * 0.57);
}

TEST(CostModel, AMappingThatFitsTheCacheCostsNothingMore) {
  const ComputeCost compute{.host_token_s = 0.1, .n_pass_tokens = 512, .n_cores = 2};
  const HostWeights host{.dense_bytes = 1.0 * GiB};
  EXPECT_DOUBLE_EQ(mapped_token(compute, host, 1.0 * GiB, kBenchDisk).seconds, 0.1);
  EXPECT_GT(mapped_token(compute, host, 0.99 * GiB, kBenchDisk).seconds, 0.4);
}

TEST(CostModel, APromptHidesItsReadsBehindEnoughTokens) {
  const HostWeights host{.dense_bytes = 4.0 * GiB};
  const Streamed streamed{.ring_bytes = 2.44 * GiB};
  EXPECT_DOUBLE_EQ(streamed_pass({.pass_s = 0.4, .n_pass_tokens = 64}, host, streamed, kBenchDisk).seconds, 1);
  // The reader and what is read take the processor's time too.
  EXPECT_NEAR(streamed_pass({.pass_s = 4, .n_pass_tokens = 512}, host, streamed, kBenchDisk).seconds, 4.16, 0.01);
}

TEST(ExpertLocality, FollowsTheTracesOfRealModels) {
  // Hits of a cache by frequency, traces of a model with 128 experts of which 6 are used.
  const std::pair<double, double> traces[] = {{0.05, 0.37}, {0.10, 0.57}, {0.15, 0.69}, {0.20, 0.76},
                                              {0.25, 0.83}, {0.30, 0.86}, {0.40, 0.945}};
  for (const auto& [share, hits] : traces) EXPECT_NEAR(expert_hit_rate(128, 6, share), hits, 0.065) << share;
  // Reported for 512 experts of which 10 are used: 67 and 81 %.
  EXPECT_NEAR(expert_hit_rate(512, 10, 0.125), 0.67, 0.05);
  EXPECT_NEAR(expert_hit_rate(512, 10, 0.25), 0.81, 0.05);
}

TEST(ExpertLocality, NeverFallsAndEndsAtAll) {
  for (const auto& [n_expert, n_used] : {std::pair<uint64_t, uint64_t>{8, 2}, {64, 6}, {128, 8}, {384, 8}, {1, 1}}) {
    double before = 0, before_lru = 0;
    for (double share = 0; share <= 1.0001; share += 0.01) {
      const double hits = expert_hit_rate(n_expert, n_used, share);
      const double lru = expert_hit_rate_lru(n_expert, n_used, share);
      EXPECT_GE(hits, before);
      EXPECT_GE(lru, before_lru);
      EXPECT_LE(lru, hits + 1e-12);
      EXPECT_LE(hits, 1);
      before = hits;
      before_lru = lru;
    }
    EXPECT_DOUBLE_EQ(expert_hit_rate(n_expert, n_used, 1), 1);
    EXPECT_DOUBLE_EQ(expert_hit_rate(n_expert, n_used, 0), 0);
  }
}

TEST(ExpertLocality, ManyShapesOfModelsChangeNoneOfTheOthers) {
  const double first = expert_hit_rate(128, 8, 0.3);
  for (uint64_t n_used = 1; n_used <= 200; ++n_used) EXPECT_GT(expert_hit_rate(256, n_used, 0.3), 0.2) << n_used;
  EXPECT_EQ(expert_hit_rate(128, 8, 0.3), first);
}

TEST(ExpertLocality, ThePageCacheHitsNothingBelowWhatOneTokenUses) {
  EXPECT_EQ(expert_hit_rate_lru(128, 8, 0.06), 0);
  EXPECT_GT(expert_hit_rate_lru(128, 8, 0.07), 0.2);
}

TEST(ExpertLocality, APassOverManyTokensTouchesNearlyAll) {
  EXPECT_NEAR(experts_touched(8, 2, 1), 0.25, 1e-9);
  EXPECT_GT(experts_touched(128, 8, 512), 0.999);
  EXPECT_DOUBLE_EQ(experts_touched(0, 0, 512), 1);
}

TEST(Rates, TakeTheTypeThatWasMeasuredElseTheMean) {
  const Rates rates({{"q4_K", 40e9, 4e11, 3e11}, {"q8_0", 60e9, 8e11}}, 80e9);
  EXPECT_DOUBLE_EQ(rates.decode_bytes_per_s("q4_K"), 40e9);
  EXPECT_DOUBLE_EQ(rates.decode_bytes_per_s("iq2_s"), 50e9);
  EXPECT_DOUBLE_EQ(rates.prefill_flops_per_s("q8_0"), 8e11);
  EXPECT_DOUBLE_EQ(rates.prefill_flops_per_s("iq2_s"), 6e11);
  EXPECT_DOUBLE_EQ(rates.expert_prefill_flops_per_s("q4_K"), 3e11);
  EXPECT_DOUBLE_EQ(rates.expert_prefill_flops_per_s("q8_0"), 0.87 * 8e11) << "a share of the other";
  EXPECT_DOUBLE_EQ(Rates({}, 80e9).decode_bytes_per_s("q4_K"), 56e9);
  EXPECT_FALSE(Rates({}, 0).known());
}

}  // namespace
}  // namespace spillway
