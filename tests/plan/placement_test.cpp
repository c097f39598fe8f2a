// SPDX-License-Identifier: MIT
#include "plan/placement.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include "../os/temp_folder.h"
#include "base/bytes.h"
#include "model/tensor_role.h"
#include "plan/tuning.h"

namespace spillway {
namespace {

using testing::AllOf;
using testing::Each;
using testing::HasSubstr;
using testing::IsEmpty;

// Tensors and a machine, in the words of the tests.
class Model {
 public:
  // Back to back, as in a file.
  Model& tensor(const std::string& name, uint64_t bytes, uint32_t slices = 1) {
    TensorInfo info;
    info.name = name;
    info.type = "q8_0";
    info.range = {end_, bytes};
    info.role = role_of_tensor(name);
    info.layer = layer_of_tensor(name);
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

  PlanInput with_budget(uint64_t budget_bytes) const {
    return {.tensors = &tensors_,
            .tied_embedding = tied_,
            .n_expert_used = n_expert_used_,
            .weights_budget_bytes = budget_bytes,
            .resident_bytes = bytes(),
            .mode = std::nullopt,
            .extent_bytes_min = 256 * KiB,
            .disk_bytes_per_s = disk_bytes_per_s_,
            .compute_bytes_per_s = compute_bytes_per_s_};
  }
  PlanInput streaming_with(uint64_t budget_bytes) const {
    PlanInput input = with_budget(budget_bytes);
    input.mode = Mode::kStream;
    return input;
  }
  uint64_t stream_bytes_min() const { return place(streaming_with(UINT64_MAX / 2))->weights_bytes_min; }

  double disk_bytes_per_s_ = 2e9, compute_bytes_per_s_ = 10e9;

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

uint64_t bytes_in(const Model& model, const Placement& placement, Tier tier) {
  uint64_t sum = 0;
  for (size_t i = 0; i < model.tensors().size(); ++i)
    if (placement.tiers[i] == tier) sum += model.tensors()[i].range.bytes;
  return sum;
}
std::vector<std::string> names_in(const Model& model, const Placement& placement, Tier tier) {
  std::vector<std::string> names;
  for (size_t i = 0; i < model.tensors().size(); ++i)
    if (placement.tiers[i] == tier) names.push_back(model.tensors()[i].name);
  return names;
}

// --- modes
// -------------------------------------------------------------------------------------------------------------

TEST(Placement, WhatFitsIsResidentAndReadsNothing) {
  const Model model = dense_model();
  const Placement placement = place(model.with_budget(model.bytes())).value();
  EXPECT_EQ(placement.mode, Mode::kResident);
  EXPECT_THAT(placement.why, HasSubstr("fit the budget"));
  EXPECT_THAT(placement.tiers, IsEmpty());
  EXPECT_EQ(placement.pinned_bytes, model.bytes());
  EXPECT_EQ(placement.bytes_read_per_token, 0);
  EXPECT_NEAR(placement.predicted_tok_per_s, 10e9 / static_cast<double>(model.bytes() - 100 * MiB), 1e-6);
}

TEST(Placement, WhatDoesNotFitStreams) {
  const Model model = dense_model();
  const Placement placement = place(model.with_budget(model.bytes() - 1)).value();
  EXPECT_EQ(placement.mode, Mode::kStream);
  EXPECT_THAT(placement.why, AllOf(HasSubstr(format_bytes(model.bytes())), HasSubstr("the budget leaves")));
}

TEST(Placement, AModeAskedForIsTaken) {
  const Model model = dense_model();
  PlanInput input = model.with_budget(model.bytes() * 2);
  for (const Mode mode : {Mode::kResident, Mode::kStream, Mode::kMmap}) {
    input.mode = mode;
    const Placement placement = place(input).value();
    EXPECT_EQ(placement.mode, mode) << mode_name(mode);
    EXPECT_EQ(placement.why, "asked for");
  }
  EXPECT_EQ(place(input)->pinned_bytes, 0u);  // the page cache's
}

TEST(Placement, ResidentAskedForWithoutTheMemoryIsRefusedWithNumbersAndRemedy) {
  const Model model = dense_model();
  PlanInput input = model.with_budget(1 * GiB);
  input.mode = Mode::kResident;
  const auto placement = place(input);
  ASSERT_FALSE(placement);
  EXPECT_EQ(placement.error().code(), Code::kInvalidArgument);
  EXPECT_THAT(placement.error().message(), AllOf(HasSubstr(format_bytes(model.bytes())), HasSubstr("1.00 GiB"),
                                                 HasSubstr("--ram"), HasSubstr("--mode stream")));
}

TEST(Placement, LessThanTheMinimumIsRefusedAndTheMinimumNamedIsEnough) {
  for (const Model& model : {dense_model(), moe_model()}) {
    const uint64_t minimum = model.stream_bytes_min();
    EXPECT_LT(minimum, model.bytes());
    ASSERT_TRUE(place(model.with_budget(minimum)));
    const auto refused = place(model.with_budget(minimum - 1));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), Code::kOutOfBudget);
    EXPECT_THAT(refused.error().message(), AllOf(HasSubstr(format_bytes(minimum)), HasSubstr("the budget leaves")));
  }
}

TEST(Placement, WithoutMeasurementsNothingIsPredicted) {
  Model model = dense_model();
  model.compute_bytes_per_s_ = 0;
  EXPECT_EQ(place(model.with_budget(1 * GiB))->predicted_tok_per_s, 0);
  EXPECT_EQ(place(model.with_budget(8 * GiB))->predicted_tok_per_s, 0);
  EXPECT_GT(place(model.with_budget(1 * GiB))->bytes_read_per_token, 0);
  model = dense_model();
  model.disk_bytes_per_s_ = 0;
  EXPECT_EQ(place(model.with_budget(1 * GiB))->predicted_tok_per_s, 0);
}

// --- tiers
// -------------------------------------------------------------------------------------------------------------

TEST(Placement, TheEmbeddingIsReadByRows) {
  const Model model = dense_model();
  const Placement placement = place(model.with_budget(2 * GiB)).value();
  EXPECT_THAT(names_in(model, placement, Tier::kRows), testing::ElementsAre("token_embd.weight"));
  EXPECT_EQ(placement.rows_bytes, 100 * MiB);
}

TEST(Placement, ATiedEmbeddingIsUsedWhole) {
  Model model = dense_model();
  model.tied();
  const Placement placement = place(model.with_budget(2 * GiB)).value();
  EXPECT_THAT(names_in(model, placement, Tier::kRows), IsEmpty());
  EXPECT_EQ(placement.rows_bytes, 0u);
  EXPECT_EQ(active_bytes_of(model.tensors()[0], model.with_budget(0)), 100.0 * MiB);
  EXPECT_EQ(placement.active_bytes, static_cast<double>(model.bytes()));
}

TEST(Placement, TheOtherEmbeddingOfATiedModelIsStillReadByRows) {
  Model model = dense_model();
  model.tied().tensor("per_layer_token_embd.weight", 500 * MiB);
  EXPECT_THAT(names_in(model, place(model.with_budget(2 * GiB)).value(), Tier::kRows),
              testing::ElementsAre("per_layer_token_embd.weight"));
}

TEST(Placement, SmallTensorsArePinned) {
  const Model model = dense_model();
  const Placement placement = place(model.with_budget(model.stream_bytes_min())).value();
  for (size_t i = 0; i < model.tensors().size(); ++i)
    EXPECT_TRUE(model.tensors()[i].range.bytes >= 256 * KiB || placement.tiers[i] == Tier::kPinned) << i;
}

TEST(Placement, StreamedDenseTensorsAreSpreadEvenlyOverTheLayers) {
  const Model model = dense_model();
  for (const double share : {0.7, 0.8, 0.9}) {
    const auto budget = static_cast<uint64_t>(share * static_cast<double>(model.bytes()));
    const Placement placement = place(model.with_budget(budget)).value();
    std::vector<int> by_layer(32);
    int n = 0;
    for (size_t i = 0; i < model.tensors().size(); ++i)
      if (placement.tiers[i] == Tier::kRing) {
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

TEST(Placement, ALengthThatWouldNotSaveMemoryIsNotStreamed) {
  Model model = dense_model();
  model.tensor("odd.weight", 77 * MiB);  // the only one of its length: a slot for it is as large as itself
  const Placement placement = place(model.with_budget(model.stream_bytes_min())).value();
  EXPECT_EQ(placement.tiers.back(), Tier::kPinned);
}

TEST(Placement, TheRingHasTheSlotsItWantsBeforeAnythingIsPinned) {
  const Model model = dense_model();
  const Placement least = place(model.with_budget(model.stream_bytes_min())).value();
  EXPECT_EQ(least.ring_pool_bytes, kRingSlotsMin * (10 + 2 + 32) * MiB);  // of 9, 2 and 31
  const Placement roomy = place(model.with_budget(model.bytes() * 3 / 4)).value();
  EXPECT_EQ(roomy.ring_pool_bytes % (kRingSlotsWanted * MiB), 0u);
}

TEST(Placement, ExpertsGetWhatDenseWeightsLeave) {
  const Model model = moe_model();
  const Placement placement = place(model.with_budget(4 * GiB)).value();
  EXPECT_THAT(names_in(model, placement, Tier::kRing), IsEmpty());
  for (const std::string& name : names_in(model, placement, Tier::kExperts)) EXPECT_THAT(name, HasSubstr("_exps"));
  EXPECT_EQ(placement.expert_tensor_bytes, 24 * 416 * MiB);
  EXPECT_EQ(placement.pinned_bytes + placement.pool_bytes, 4 * GiB);
}

TEST(Placement, DenseWeightsOfAMoeComeBeforeItsExperts) {
  const Model model = moe_model();
  uint64_t dense_pinned_at = 0;
  for (uint64_t budget = model.stream_bytes_min(); budget < 1 * GiB; budget += 3 * MiB) {
    const Placement placement = place(model.with_budget(budget)).value();
    const uint64_t expert_pool = placement.pool_bytes - placement.ring_pool_bytes;
    EXPECT_TRUE(placement.ring_tensor_bytes == 0 || expert_pool == expert_slots_min(8) * (1 * MiB + 1280 * KiB))
        << budget;
    if (placement.ring_tensor_bytes == 0 && dense_pinned_at == 0) dense_pinned_at = budget;
  }
  EXPECT_GT(dense_pinned_at, 0u);
}

TEST(Placement, OneTokenReadsItsShareOfTheExperts) {
  const Model model = moe_model();
  const PlanInput input = model.with_budget(0);
  for (const TensorInfo& tensor : model.tensors()) {
    const double share = tensor.slices > 1 ? 8.0 / 128 : tensor.role == TensorRole::kEmbedding ? 0 : 1;
    EXPECT_EQ(active_bytes_of(tensor, input), share * static_cast<double>(tensor.range.bytes)) << tensor.name;
  }
  PlanInput more = input;
  more.n_expert_used = 1000;  // nonsense in the metadata
  EXPECT_LE(active_bytes_of(model.tensors()[5], more), static_cast<double>(model.tensors()[5].range.bytes));
}

// --- properties
// --------------------------------------------------------------------------------------------------------

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
  model.disk_bytes_per_s_ = static_cast<double>(up_to(8)) * 1e9;
  model.compute_bytes_per_s_ = static_cast<double>(up_to(40)) * 1e9;
  return model;
}

class RandomModels : public testing::TestWithParam<int> {
 protected:
  const uint64_t seed_ = test_seed() + static_cast<uint64_t>(GetParam());
  std::mt19937_64 random_{seed_};
  const Model model_ = random_model(random_);
};

INSTANTIATE_TEST_SUITE_P(Seeds, RandomModels, testing::Range(0, 150));

TEST_P(RandomModels, NothingPlannedExceedsTheBudgetAndTheTiersAddUp) {
  TRACE_SEED();
  const uint64_t minimum = model_.stream_bytes_min();
  for (int i = 0; i < 40; ++i) {
    const uint64_t budget = i == 0 ? minimum : minimum + random_() % (model_.bytes() + 100 * MiB);
    const auto placed = place(model_.streaming_with(budget));
    ASSERT_TRUE(placed) << placed.error().message();
    const Placement& placement = *placed;
    ASSERT_EQ(placement.tiers.size(), model_.tensors().size());
    EXPECT_LE(placement.pinned_bytes + placement.pool_bytes, budget);
    EXPECT_LE(placement.ring_pool_bytes, placement.pool_bytes);
    EXPECT_EQ(placement.ring_tensor_bytes, bytes_in(model_, placement, Tier::kRing));
    EXPECT_EQ(placement.expert_tensor_bytes, bytes_in(model_, placement, Tier::kExperts));
    EXPECT_EQ(placement.rows_bytes, bytes_in(model_, placement, Tier::kRows));
    EXPECT_GE(placement.pinned_bytes, bytes_in(model_, placement, Tier::kPinned));
    // Slots for every length: two tensors of the ring, and one operation's experts while the next one's are read.
    std::map<uint64_t, uint64_t> ring, experts;
    for (size_t t = 0; t < model_.tensors().size(); ++t) {
      const TensorInfo& tensor = model_.tensors()[t];
      EXPECT_TRUE(placement.tiers[t] != Tier::kExperts || tensor.slices > 1);
      EXPECT_TRUE(placement.tiers[t] != Tier::kRing || tensor.slices == 1);
      if (placement.tiers[t] == Tier::kRing) ++ring[tensor.range.bytes];
      if (placement.tiers[t] == Tier::kExperts) experts[tensor.slice_bytes()] += tensor.slices;
    }
    uint64_t ring_least = 0, experts_least = 0;
    for (const auto& [bytes, n] : ring) ring_least += std::min<uint64_t>(n, kRingSlotsMin) * bytes;
    const PlanInput input = model_.streaming_with(budget);
    for (const auto& [bytes, n] : experts) experts_least += std::min(n, expert_slots_min(input.n_expert_used)) * bytes;
    EXPECT_GE(placement.ring_pool_bytes, ring_least);
    EXPECT_GE(placement.pool_bytes - placement.ring_pool_bytes, experts_least);
  }
}

TEST_P(RandomModels, MoreBudgetNeverReadsMoreNorPredictsSlower) {
  TRACE_SEED();
  std::vector<uint64_t> budgets;
  const uint64_t minimum = model_.stream_bytes_min();
  for (int i = 0; i < 150; ++i) budgets.push_back(minimum + random_() % (model_.bytes() + MiB));
  for (int i = 0; i < 50; ++i) budgets.push_back(budgets[static_cast<size_t>(i)] + random_() % (64 * KiB));
  std::sort(budgets.begin(), budgets.end());
  for (const bool forced : {true, false}) {
    std::optional<Placement> before;
    for (const uint64_t budget : budgets) {
      const auto placed = place(forced ? model_.streaming_with(budget) : model_.with_budget(budget));
      ASSERT_TRUE(placed) << placed.error().message();
      if (before) {
        EXPECT_LE(placed->bytes_read_per_token, before->bytes_read_per_token) << budget;
        EXPECT_GE(placed->predicted_tok_per_s, before->predicted_tok_per_s * (1 - 1e-12)) << budget;  // rounding
      }
      before = *placed;
    }
  }
}

TEST_P(RandomModels, TheMinimumIsTheLeastThatWorks) {
  TRACE_SEED();
  const uint64_t minimum = model_.stream_bytes_min();
  EXPECT_TRUE(place(model_.streaming_with(minimum)));
  EXPECT_EQ(place(model_.streaming_with(minimum))->weights_bytes_min, minimum);
  EXPECT_TRUE(minimum == 0 || !place(model_.streaming_with(minimum - 1)));
}

TEST(Placement, AModelWithoutTensorsHarmsNobody) {
  const Model model;
  EXPECT_TRUE(place(model.with_budget(0)));
  EXPECT_TRUE(place(model.streaming_with(0)));
}

}  // namespace
}  // namespace spillway
