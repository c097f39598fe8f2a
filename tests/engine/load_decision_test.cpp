// SPDX-License-Identifier: MIT
#include "engine/load_decision.h"

#include <gtest/gtest.h>

#include <optional>
#include <vector>

namespace spillway {
namespace {

LoadRequest request_with(uint32_t n_ubatch, uint32_t n_seq_max) {
  LoadRequest request;
  request.options.n_ubatch = n_ubatch;
  request.options.n_seq_max = n_seq_max;
  return request;
}

// Of every decision until the buffers are the smallest, where libllama makes what was asked for.
std::vector<Decision> shrunk_until_smallest(const LoadRequest& request, const Decision& first) {
  std::vector<Decision> all;
  for (std::optional<Decision> next = first; next; next = with_smaller_buffers(request, all.back(), all.back().context))
    all.push_back(*next);
  return all;
}

TEST(LoadDecision, BuffersShrinkByQuartersAndCachesOfTheCallersGoFirst) {
  Decision first;
  first.context = {.n_ctx = 4096, .n_batch = 4096, .n_ubatch = 1024, .n_outputs = 64};
  first.reserve_bytes = 1 << 20;
  const auto all = shrunk_until_smallest(request_with(0, 4), first);
  ASSERT_EQ(all.size(), 4u);
  EXPECT_EQ(all[0].reserve_bytes, 1u << 20);
  for (size_t i = 1; i < all.size(); ++i) {
    EXPECT_EQ(all[i].context.n_ubatch, 1024u >> (2 * i));
    EXPECT_EQ(all[i].context.n_outputs, 4u);
    EXPECT_EQ(all[i].reserve_bytes, 0u);
    EXPECT_EQ(all[i].context.n_ctx, 4096u);
  }
}

TEST(LoadDecision, APassWhoseLengthWasNamedStaysSoLong) {
  Decision first;
  first.context = {.n_ctx = 4096, .n_batch = 4096, .n_ubatch = 1024, .n_outputs = 64};
  const auto all = shrunk_until_smallest(request_with(1024, 1), first);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[1].context.n_ubatch, 1024u);
  EXPECT_EQ(all[1].context.n_outputs, 1u);
}

TEST(LoadDecision, ABudgetForWeightsAloneIsNotPlanned) {
  LoadRequest request = request_with(0, 1);
  request.options.weights_bytes = 1 << 20;
  request.options.n_ctx_min = 6000;
  request.gguf.n_ctx_train = 2048;
  Measured measured;
  measured.mode_by_size = Mode::kStream;
  const auto decision = decide(request, measured, Kernels::kRepacked);
  ASSERT_TRUE(decision) << decision.error().message();
  EXPECT_EQ(decision->mode, Mode::kStream);
  EXPECT_EQ(decision->kernels, Kernels::kRepacked);
  EXPECT_FALSE(decision->plan);
  EXPECT_EQ(decision->n_ctx_default, 2048u);
  EXPECT_EQ(decision->context.n_ctx, 6000u);
  EXPECT_EQ(decision->n_ctx_why, "nothing was planned");

  request.options.n_ctx = 512;
  const auto named = decide(request, measured, Kernels::kRepacked);
  ASSERT_TRUE(named);
  EXPECT_EQ(named->context.n_ctx, 512u);
  EXPECT_EQ(named->n_ctx_default, 0u);
}

}  // namespace
}  // namespace spillway
