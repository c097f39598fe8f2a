// SPDX-License-Identifier: MIT
#include "layout/layout.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <random>

#include "../os/temp_folder.h"
#include "base/bytes.h"
#include "layout/tuning.h"

namespace spillway {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// Tensors and memory, in the words of the tests.
class Model {
 public:
  // Back to back, as in a file.
  Model& tensor(const std::string& name, uint64_t bytes, uint32_t slices = 1) {
    TensorInfo info;
    info.name = name;
    info.type = "q8_0";
    info.range = {end_, bytes};
    if (name.find("token_embd") != std::string::npos) info.role = TensorRole::kEmbedding;
    if (int layer = 0; std::sscanf(name.c_str(), "blk.%d.", &layer) == 1) info.layer = layer;
    info.slices = slices;
    end_ += bytes;
    tensors_.push_back(std::move(info));
    return *this;
  }
  Model& uses_experts(uint64_t n) {
    n_expert_used_ = n;
    return *this;
  }
  Model& tied() {
    tied_ = true;
    return *this;
  }

  uint64_t bytes() const { return end_; }
  const std::vector<TensorInfo>& tensors() const { return tensors_; }

  LayoutRequest with_budget(uint64_t budget_bytes) const {
    LayoutRequest request;
    request.tensors = &tensors_;
    request.tied_embedding = tied_;
    request.n_expert_used = n_expert_used_;
    request.extent_bytes_min = 256 * KiB;
    request.weights_budget_bytes = budget_bytes;
    return request;
  }
  uint64_t bytes_min() const { return least_bytes(with_budget(0)); }

 private:
  std::vector<TensorInfo> tensors_;
  uint64_t end_ = 0, n_expert_used_ = 0;
  bool tied_ = false;
};

Model dense_model(int layers = 32) {
  Model model;
  model.tensor("token_embd.weight", 100 * MiB);
  for (int layer = 0; layer < layers; ++layer) {
    const std::string blk = fmt::format("blk.{}.", layer);
    model.tensor(blk + "attn_norm.weight", 16 * KiB);
    for (const char* name : {"attn_q.weight", "attn_output.weight"}) model.tensor(blk + name, 9 * MiB);
    for (const char* name : {"attn_k.weight", "attn_v.weight"}) model.tensor(blk + name, 2 * MiB);
    for (const char* name : {"ffn_gate.weight", "ffn_up.weight", "ffn_down.weight"}) model.tensor(blk + name, 31 * MiB);
  }
  return model.tensor("output_norm.weight", 16 * KiB).tensor("output.weight", 100 * MiB);
}

Model moe_model() {
  Model model;
  model.uses_experts(8).tensor("token_embd.weight", 200 * MiB);
  for (int layer = 0; layer < 24; ++layer) {
    const std::string blk = fmt::format("blk.{}.", layer);
    model.tensor(blk + "attn_norm.weight", 8 * KiB).tensor(blk + "ffn_gate_inp.weight", 1 * MiB);
    for (const char* name : {"attn_q.weight", "attn_output.weight"}) model.tensor(blk + name, 5 * MiB);
    for (const char* name : {"ffn_gate_exps.weight", "ffn_up_exps.weight"}) model.tensor(blk + name, 128 * MiB, 128);
    model.tensor(blk + "ffn_down_exps.weight", 160 * MiB, 128);
  }
  return model.tensor("output.weight", 200 * MiB);
}

std::vector<std::string> names_in(const Model& model, const Layout& layout, Tier tier) {
  std::vector<std::string> names;
  for (size_t i = 0; i < model.tensors().size(); ++i)
    if (layout.tiers[i] == tier) names.push_back(model.tensors()[i].name);
  return names;
}
uint64_t bytes_in(const Model& model, const Layout& layout, Tier tier) {
  uint64_t sum = 0;
  for (size_t i = 0; i < model.tensors().size(); ++i)
    if (layout.tiers[i] == tier) sum += model.tensors()[i].range.bytes;
  return sum;
}

// --- the least -----------------------------------------------------------------------------------------------------

TEST(Layout, LessThanTheMinimumIsRefusedAndTheMinimumNamedIsEnough) {
  for (const Model& model : {dense_model(), moe_model()}) {
    const uint64_t minimum = model.bytes_min();
    EXPECT_LT(minimum, model.bytes());
    ASSERT_TRUE(lay_out(model.with_budget(minimum)));
    const auto refused = lay_out(model.with_budget(minimum - 1));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), Code::kOutOfBudget);
    EXPECT_THAT(refused.error().message(), AllOf(HasSubstr(format_bytes(minimum)), HasSubstr("the budget leaves")));
  }
}

TEST(Layout, AModelWithoutTensorsHarmsNobody) {
  const Model model;
  EXPECT_FALSE(lay_out(model.with_budget(10 * MiB))->streams());
  EXPECT_EQ(resident_bytes(model.with_budget(0)), 0u);
}

// --- tiers ---------------------------------------------------------------------------------------------------------

TEST(Layout, TheEmbeddingIsReadByRows) {
  const Model model = dense_model();
  const Layout layout = lay_out(model.with_budget(2 * GiB)).value();
  EXPECT_THAT(names_in(model, layout, Tier::kRows), ElementsAre("token_embd.weight"));
  EXPECT_EQ(layout.rows_bytes, 100 * MiB);
}

TEST(Layout, ATiedEmbeddingIsUsedWholeAndTheOtherOneByRows) {
  Model model = dense_model();
  model.tied().tensor("per_layer_token_embd.weight", 500 * MiB);
  EXPECT_THAT(names_in(model, lay_out(model.with_budget(2 * GiB)).value(), Tier::kRows),
              ElementsAre("per_layer_token_embd.weight"));
}

TEST(Layout, SmallTensorsArePinned) {
  const Model model = dense_model();
  const Layout layout = lay_out(model.with_budget(model.bytes_min())).value();
  for (size_t i = 0; i < model.tensors().size(); ++i)
    EXPECT_TRUE(model.tensors()[i].range.bytes >= 256 * KiB || layout.tiers[i] == Tier::kPinned) << i;
}

TEST(Layout, StreamedDenseTensorsAreSpreadEvenlyOverTheLayers) {
  const Model model = dense_model();
  for (const double share : {0.7, 0.8, 0.9}) {
    const Layout layout =
        lay_out(model.with_budget(static_cast<uint64_t>(share * static_cast<double>(model.bytes())))).value();
    std::vector<int> by_layer(32);
    int n = 0;
    for (size_t i = 0; i < model.tensors().size(); ++i)
      if (layout.tiers[i] == Tier::kRing) {
        ++by_layer.at(static_cast<size_t>(model.tensors()[i].layer));
        ++n;
      }
    // Any quarter of the layers has a quarter of what streams, up to two tensors.
    for (size_t first = 0; first < 32; first += 8) {
      const int quarter = std::accumulate(by_layer.begin() + static_cast<ptrdiff_t>(first),
                                          by_layer.begin() + static_cast<ptrdiff_t>(first + 8), 0);
      EXPECT_NEAR(quarter, n / 4.0, 2) << share << " from layer " << first;
    }
  }
}

TEST(Layout, ALengthThatWouldNotSaveMemoryIsNotStreamed) {
  Model model = dense_model();
  model.tensor("odd.weight", 77 * MiB);  // the only one of its length: a slot for it is as large as itself
  EXPECT_EQ(lay_out(model.with_budget(model.bytes_min()))->tiers.back(), Tier::kPinned);
}

TEST(Layout, TheRingHasTheSlotsItWantsBeforeAnythingIsPinned) {
  const Model model = dense_model();
  const auto ring_slots = [&](uint64_t budget_bytes) {
    const Layout layout = lay_out(model.with_budget(budget_bytes)).value();
    std::vector<uint32_t> slots;
    for (size_t c = 0; c < layout.classes.size(); ++c)
      if (layout.classes[c].pool == Pool::kRing) slots.push_back(layout.n_slots[c]);
    return slots;
  };
  EXPECT_THAT(ring_slots(model.bytes_min()), testing::Each(kRingSlotsMin));
  EXPECT_THAT(ring_slots(model.bytes() * 3 / 4), testing::Each(testing::Ge(kRingSlotsWanted)));
}

TEST(Layout, ExpertsGetWhatDenseWeightsLeave) {
  const Model model = moe_model();
  const Layout layout = lay_out(model.with_budget(4 * GiB)).value();
  EXPECT_THAT(names_in(model, layout, Tier::kRing), IsEmpty());
  for (const std::string& name : names_in(model, layout, Tier::kExperts)) EXPECT_THAT(name, HasSubstr("_exps"));
  EXPECT_EQ(layout.expert_tensor_bytes, 24 * 416 * MiB);
  EXPECT_LE(layout.bytes(), 4 * GiB);
  EXPECT_GT(layout.bytes(), 4 * GiB - 8 * MiB);
}

TEST(Layout, DenseWeightsOfAMoeComeBeforeItsExperts) {
  const Model model = moe_model();
  bool all_dense_stays = false;
  for (uint64_t budget = model.bytes_min(); budget < 1 * GiB; budget += 3 * MiB) {
    const Layout layout = lay_out(model.with_budget(budget)).value();
    if (layout.ring_tensor_bytes == 0) {
      all_dense_stays = true;
      continue;
    }
    EXPECT_FALSE(all_dense_stays) << budget;
    for (size_t c = 0; c < layout.classes.size(); ++c)
      EXPECT_TRUE(layout.classes[c].pool != Pool::kExperts ||
                  layout.n_slots[c] <= layout.classes[c].n_slots_min + 4)  // to the end of a huge page
          << budget;
  }
  EXPECT_TRUE(all_dense_stays);
}

TEST(Layout, WhatNothingUsesOrADeviceHoldsTakesNoMemory) {
  const Model model = dense_model();
  LayoutRequest request = model.with_budget(UINT64_MAX / 2);
  request.pin_all = true;
  const uint64_t all_bytes = lay_out(request)->bytes();
  request.unused.assign(model.tensors().size(), false);
  request.on_device.assign(model.tensors().size(), false);
  request.unused.back() = request.on_device[3] = true;
  const Layout layout = lay_out(request).value();
  EXPECT_EQ(layout.tiers.back(), Tier::kUnused);
  EXPECT_EQ(layout.tiers[3], Tier::kDevice);
  EXPECT_EQ(layout.unused_bytes, 100 * MiB);
  EXPECT_EQ(layout.device_bytes, model.tensors()[3].range.bytes);
  EXPECT_LE(layout.bytes(), all_bytes - layout.unused_bytes - layout.device_bytes);
  for (const PinnedWeight& weight : layout.pinned)
    EXPECT_TRUE(weight.tensor != 3 && weight.tensor != model.tensors().size() - 1);
}

TEST(Layout, PinnedWeightsLieBehindOneAnotherAndThoseThatCanGoLast) {
  const Model model = dense_model();
  const Layout layout = lay_out(model.with_budget(2 * GiB)).value();
  uint64_t end = 0;
  bool can_go = false;
  for (const PinnedWeight& weight : layout.pinned) {
    EXPECT_GE(weight.begin, end);
    EXPECT_TRUE(weight.can_go || !can_go);
    EXPECT_GE(weight.shape.room_bytes, weight.shape.data_offset + model.tensors()[weight.tensor].range.bytes);
    can_go = weight.can_go;
    end = weight.end();
  }
  EXPECT_TRUE(can_go);
  EXPECT_LE(end, layout.pinned_bytes);
}

TEST(Layout, FiguresAloneAreTheSameFigures) {
  for (const Model& model : {dense_model(), moe_model()}) {
    LayoutRequest request = model.with_budget(2 * GiB);
    const Layout full = lay_out(request).value();
    request.figures_only = true;
    const Layout figures = lay_out(request).value();
    EXPECT_EQ(full.bytes(), figures.bytes());
    EXPECT_EQ(full.bytes_min, figures.bytes_min);
    EXPECT_EQ(full.n_slots, figures.n_slots);
    EXPECT_THAT(figures.extents, IsEmpty());
    EXPECT_FALSE(full.extents.empty());
  }
}

// --- properties ----------------------------------------------------------------------------------------------------

Model random_model(std::mt19937_64& random) {
  Model model;
  const auto up_to = [&](uint64_t n) { return 1 + random() % n; };
  if (random() % 2 == 0) model.tied();
  if (random() % 4 != 0) model.tensor("token_embd.weight", up_to(300) * MiB);
  const bool moe = random() % 2 == 0;
  const auto n_expert = static_cast<uint32_t>(moe ? 1u << (1 + random() % 8) : 1);
  if (moe) model.uses_experts(random() % 12);
  std::vector<uint64_t> lengths;
  for (uint64_t n = up_to(8); n > 0; --n)
    lengths.push_back(random() % 4 == 0 ? up_to(400) * KiB : up_to(80) * MiB + random() % 5000);
  for (uint64_t layer = 0, layers = up_to(60); layer < layers; ++layer) {
    for (size_t i = 0; i < lengths.size(); ++i) {
      if (random() % 8 == 0) continue;  // layers differ
      model.tensor(fmt::format("blk.{}.w{}.weight", layer, i),
                   lengths[i] + (random() % 16 == 0 ? random() % 100'000 : 0));
    }
    if (moe && random() % 8 != 0)
      for (const char* name : {"up", "down"})
        model.tensor(fmt::format("blk.{}.ffn_{}_exps.weight", layer, name), n_expert * (lengths[0] / 4 + 1), n_expert);
  }
  if (random() % 2 == 0) model.tensor("output.weight", up_to(300) * MiB);
  return model;
}

class RandomModels : public testing::TestWithParam<int> {
 protected:
  const uint64_t seed_ = test_seed() + static_cast<uint64_t>(GetParam());
  std::mt19937_64 random_{seed_};
  const Model model_ = random_model(random_);
};

INSTANTIATE_TEST_SUITE_P(Seeds, RandomModels, testing::Range(0, 100));

TEST_P(RandomModels, NothingExceedsTheBudgetAndTheTiersAddUp) {
  TRACE_SEED();
  const uint64_t minimum = model_.bytes_min();
  for (int i = 0; i < 20; ++i) {
    const uint64_t budget = i == 0 ? minimum : minimum + random_() % (model_.bytes() + 100 * MiB);
    LayoutRequest request = model_.with_budget(budget);
    if (random_() % 2 == 0) request.alignment = {4096, 512};
    const auto laid_out = lay_out(request);
    if (!laid_out && request.alignment.memory == 512) continue;  // another minimum
    ASSERT_TRUE(laid_out) << laid_out.error().message();
    const Layout& layout = *laid_out;
    EXPECT_LE(layout.bytes(), budget);
    EXPECT_EQ(layout.ring_tensor_bytes, bytes_in(model_, layout, Tier::kRing));
    EXPECT_EQ(layout.expert_tensor_bytes, bytes_in(model_, layout, Tier::kExperts));
    EXPECT_EQ(layout.rows_bytes, bytes_in(model_, layout, Tier::kRows));
    EXPECT_GE(layout.pinned_bytes, bytes_in(model_, layout, Tier::kPinned));
    std::vector<uint32_t> n_extents(layout.classes.size());
    for (const Extent& extent : layout.extents) {
      const SlotClass& slots = layout.classes[extent.slot_class];
      EXPECT_EQ(slots.pool, extent.pool);
      EXPECT_LE(extent.data_offset + extent.range.bytes, slots.slot_bytes);
      ++n_extents[extent.slot_class];
    }
    uint64_t pool_bytes = 0;
    for (size_t c = 0; c < layout.classes.size(); ++c) {
      EXPECT_EQ(n_extents[c], layout.classes[c].n_extents);
      EXPECT_LE(layout.n_slots[c], n_extents[c]);
      EXPECT_TRUE(layout.classes[c].pool == Pool::kWhole || layout.n_slots[c] >= layout.classes[c].n_slots_min);
      pool_bytes += area_bytes(layout.classes[c], layout.n_slots[c], layout.unit_bytes);
    }
    EXPECT_EQ(layout.pool_bytes, pool_bytes);
  }
}

TEST_P(RandomModels, TheMinimumIsTheLeastThatWorks) {
  TRACE_SEED();
  const uint64_t minimum = model_.bytes_min();
  const auto laid_out = lay_out(model_.with_budget(minimum));
  ASSERT_TRUE(laid_out) << laid_out.error().message();
  EXPECT_FALSE(minimum > 0 && lay_out(model_.with_budget(minimum - 1)));
}

// What is read for each token whatever the router says.
TEST_P(RandomModels, MoreMemoryNeverStreamsMoreDenseWeights) {
  TRACE_SEED();
  const uint64_t minimum = model_.bytes_min();
  std::vector<uint64_t> budgets;
  for (int i = 0; i < 60; ++i) budgets.push_back(minimum + random_() % (model_.bytes() + MiB));
  // Where memory begins to come in huge pages, and where buffers are added.
  const uint64_t huge_bytes = kHugePagesMin * kHugePageBytes;
  for (int i = 0; i < 20; ++i) budgets.push_back(std::max(minimum, huge_bytes - MiB + random_() % (16 * MiB)));
  std::sort(budgets.begin(), budgets.end());
  uint64_t before_bytes = UINT64_MAX;
  for (const uint64_t budget : budgets) {
    LayoutRequest request = model_.with_budget(budget);
    request.figures_only = true;
    const auto laid_out = lay_out(request);
    ASSERT_TRUE(laid_out) << laid_out.error().message();
    ASSERT_LE(laid_out->ring_tensor_bytes, before_bytes) << budget;
    before_bytes = laid_out->ring_tensor_bytes;
  }
}

}  // namespace
}  // namespace spillway
