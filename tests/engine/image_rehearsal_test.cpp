// SPDX-License-Identifier: MIT
// A pass over an image on a graph of our own, shown node by node as ggml shows one: nothing is multiplied.
#include "engine/image_rehearsal.h"

#include <gmock/gmock.h>

#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "backend/ggml_handles.h"

namespace spillway {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Products with a sum behind each, built anew for each pass. Of a pass, how many nodes it computed.
class FakePass {
 public:
  explicit FakePass(ImageRehearsal& rehearsal) : rehearsal_(rehearsal) {}

  // As ggml's scheduler: it asks about a stretch of nodes, computes that, and goes on where it may.
  int32_t operator()() {
    const std::vector<ggml_tensor*> nodes = graph();
    n_computed.push_back(0);
    for (size_t i = 0; i < nodes.size(); ++i) {
      size_t end = i;
      bool shown = ImageRehearsal::on_node(nodes[end], true, &rehearsal_);
      while (!shown && end + 1 < nodes.size()) shown = ImageRehearsal::on_node(nodes[++end], true, &rehearsal_);
      for (size_t n = i; n <= end; ++n)
        if (nodes[n]->op != GGML_OP_NONE && ++n_computed.back() == stops_behind) stop = true;
      if (shown && !ImageRehearsal::on_node(nodes[end], false, &rehearsal_)) break;
      i = end;
    }
    return outcome;
  }

  std::atomic<bool> stop = false;
  size_t stops_behind = 0;  // so many nodes somebody goes away; 0: nobody does
  int32_t outcome = 0;
  ggml_type norm_type = GGML_TYPE_F32;
  std::vector<size_t> n_computed = {};  // [pass]

 private:
  static constexpr int kProducts = 8;

  std::vector<ggml_tensor*> graph() {
    context_.reset(ggml_init({.mem_size = 64 * ggml_tensor_overhead(), .mem_buffer = nullptr, .no_alloc = true}));
    ggml_tensor* matrix = ggml_new_tensor_2d(context_.get(), GGML_TYPE_F32, 32, 32);
    ggml_tensor* bias = ggml_new_tensor_1d(context_.get(), norm_type, 32);
    ggml_tensor* at = ggml_new_tensor_2d(context_.get(), GGML_TYPE_F32, 32, 4);
    std::vector<ggml_tensor*> nodes;
    for (int i = 0; i < kProducts; ++i) {
      nodes.push_back(ggml_mul_mat(context_.get(), matrix, at));
      nodes.push_back(at = ggml_add(context_.get(), nodes.back(), bias));
    }
    return nodes;
  }

  ImageRehearsal& rehearsal_;
  ContextPtr context_;
};

TEST(ImageRehearsalTest, EveryNodeIsShownBeforeOneComputes) {
  ImageRehearsal rehearsal;
  FakePass pass(rehearsal);
  EXPECT_TRUE(rehearsal.compute(std::ref(pass), pass.stop));
  EXPECT_THAT(pass.n_computed, ElementsAre(0, 16));
}

TEST(ImageRehearsalTest, WhatHasNoKernelComputesNothing) {
  ImageRehearsal rehearsal;
  FakePass pass(rehearsal);
  pass.norm_type = GGML_TYPE_Q8_0;
  const auto outcome = rehearsal.compute(std::ref(pass), pass.stop);
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code(), Code::kUnsupported);
  EXPECT_THAT(outcome.error().message(), HasSubstr("no code for"));
  EXPECT_THAT(pass.n_computed, ElementsAre(0));
}

TEST(ImageRehearsalTest, WhoGoesAwayEndsItBehindAProduct) {
  ImageRehearsal rehearsal;
  FakePass pass(rehearsal);
  pass.stops_behind = 4;
  const auto outcome = rehearsal.compute(std::ref(pass), pass.stop);
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code(), Code::kCancelled);
  EXPECT_EQ(pass.n_computed.size(), 2u);
  EXPECT_LE(pass.n_computed.back(), 6u);
  // The next image is computed whole.
  pass.stops_behind = 0;
  pass.stop = false;
  EXPECT_TRUE(rehearsal.compute(std::ref(pass), pass.stop));
  EXPECT_EQ(pass.n_computed.back(), 16u);
}

TEST(ImageRehearsalTest, WhoIsGoneBeforeItBeginsComputesNothing) {
  ImageRehearsal rehearsal;
  FakePass pass(rehearsal);
  pass.stop = true;
  const auto outcome = rehearsal.compute(std::ref(pass), pass.stop);
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code(), Code::kCancelled);
  EXPECT_THAT(pass.n_computed, ElementsAre(0));
}

}  // namespace
}  // namespace spillway
