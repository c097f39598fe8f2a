// SPDX-License-Identifier: MIT
#include "plan/cache_offer.h"

#include <gmock/gmock.h>

#include "hw/shipped_profiles.h"
#include "plan/model_need.h"
#include "plan_models.h"

namespace spillway {
namespace {

class CacheOfferTest : public testing::Test {
 protected:
  std::optional<CacheOffer> offer(const PlanRequest& request) {
    const auto plan = make_plan(request);
    EXPECT_TRUE(plan) << plan.error().message();
    return plan ? cache_offer(request, &*plan) : std::nullopt;
  }
  PlanRequest request(uint64_t ram_bytes, uint64_t n_ctx) {
    PlanRequest request;
    request.model = &model_;
    request.machine = &machine_;
    request.ram_bytes = ram_bytes;
    request.gpu_memory_bytes = 0;
    request.n_ctx = n_ctx;
    return request;
  }
  GgufModel model_ = make_shape(kDense70b);
  const MachineProfile machine_ = shipped_profile("gaming-pc-24gb").value();
};

TEST_F(CacheOfferTest, ALongContextIsWorthAlmostTwiceItsTokensOrMoreWeights) {
  const auto found = offer(request(32 * GiB, 32768));
  ASSERT_TRUE(found);
  EXPECT_EQ(cache_options_text(found->format), "--cache-type-k q8_0 --cache-type-v q8_0");
  const uint64_t f16_bytes = 80ull * 32768 * 2 * 8 * 128 * 2;
  EXPECT_EQ(found->saved_bytes, f16_bytes * 15 / 32);
  EXPECT_EQ(found->n_ctx, 32768u * 32 / 17 / 256 * 256);
  const auto as_it_is = make_plan(request(32 * GiB, 32768));
  EXPECT_GT(found->prediction.decode_tok_per_s, 1.02 * as_it_is->prediction.decode_tok_per_s);
}

TEST_F(CacheOfferTest, NothingIsOfferedWhereLittleIsGained) {
  EXPECT_FALSE(offer(request(32 * GiB, 256)));
  PlanRequest has_it = request(32 * GiB, 32768);
  has_it.cache = {.type_k = "q8_0", .type_v = "q8_0"};
  EXPECT_FALSE(offer(has_it));
  PlanRequest unfused = request(32 * GiB, 32768);
  unfused.cache.flash = FlashAttention::kOff;
  EXPECT_FALSE(offer(unfused)) << "quantized values need flash attention";
  model_.numbers["attention.key_length"] = {80};
  EXPECT_FALSE(offer(request(32 * GiB, 32768))) << "heads of 80 are no whole number of blocks";
}

TEST_F(CacheOfferTest, MoreTokensThanTheModelKnowsAreNoGain) {
  model_.n_ctx_train = 32768;
  const auto found = offer(request(32 * GiB, 32768));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->n_ctx, 0u);
}

TEST_F(CacheOfferTest, WhatDoesNotFitMayFitSo) {
  // Resident, since streaming would always fit: room for the weights, and for a cache of eight bits.
  PlanRequest tight = request(0, 65536);
  tight.mode = Mode::kResident;
  const auto need = model_need(model_, {.n_ctx = 65536, .n_ubatch = 128});
  tight.ram_bytes = model_.weight_bytes() + need->context_bytes() + need->program_bytes - 2 * GiB;
  ASSERT_FALSE(make_plan(tight));
  const auto found = cache_offer(tight, nullptr);
  ASSERT_TRUE(found);
  EXPECT_GT(found->prediction.decode_tok_per_s, 0);
  tight.ram_bytes -= 16 * GiB;
  EXPECT_FALSE(cache_offer(tight, nullptr));
}

}  // namespace
}  // namespace spillway
