// SPDX-License-Identifier: MIT
#include "store/pinned_weights.h"

#include <gmock/gmock.h>

#include <random>
#include <thread>

#include "sim_model.h"

namespace spillway {
namespace {

using testing::HasSubstr;

// Small tensors that must stay and large ones that can go, all pinned.
class Pinned : public testing::Test {
 protected:
  void open(SimDiskOptions options = {}, std::vector<WeightShape> shapes = {}, Place place = place_plain) {
    disk_ = std::make_unique<SimDisk>(options);
    model_ = std::make_unique<SimModel>(*disk_, std::vector<Tensors>{{3, 5000}, {5, 2 * MiB + 4096}, {2, 320000, 4}});
    LayoutRequest request = model_->request(UINT64_MAX / 2, shapes.empty() ? shapes : shapes_of(shapes.front()));
    layout_ = lay_out(request).value();
    queue_ = disk_->open_queue(4);
    weights_ = PinnedWeights::open(layout_, model_->tensors(),
                                   {.files = model_->files(), .read_bytes = 16 * kPageBytes, .place = place})
                   .value();
  }
  std::vector<WeightShape> shapes_of(const WeightShape& shape) const {
    std::vector<WeightShape> shapes;
    for (const TensorInfo& tensor : model_->tensors()) {
      shapes.push_back(tensor.range.bytes % 64 == 0 ? shape : WeightShape{});
      if (shapes.back().form == Form::kRepacked) shapes.back().slot_bytes = tensor.slice_bytes();
    }
    return shapes;
  }
  void load_all() {
    while (!weights_->is_loaded()) ASSERT_TRUE(weights_->load(3 * MiB, *queue_, workers_, nullptr));
  }
  // How many are there; what is there is right.
  size_t n_here() const {
    size_t n = 0;
    for (const PinnedWeight& weight : layout_.pinned) {
      const std::byte* data = weights_->data(weight.tensor);
      if (data == nullptr) continue;
      ++n;
      const ByteRange range = model_->tensors()[weight.tensor].range;
      EXPECT_TRUE(layout_.form(weight.tensor) == Form::kRepacked ? is_backwards(*model_, range, data)
                                                                 : model_->is_at(range, data));
    }
    return n;
  }

  std::unique_ptr<SimDisk> disk_;
  std::unique_ptr<SimModel> model_;
  Layout layout_;
  std::unique_ptr<IoQueue> queue_;
  Workers workers_{2};
  std::unique_ptr<PinnedWeights> weights_;
};

TEST_F(Pinned, AreThereWhenTheyAreRead) {
  open({.reorder_window = 4});
  EXPECT_EQ(n_here(), 0u);
  ASSERT_NO_FATAL_FAILURE(load_all());
  EXPECT_EQ(n_here(), layout_.pinned.size());
  EXPECT_EQ(weights_->bytes_held(), layout_.pinned_bytes);
}

TEST_F(Pinned, AreReadOnAnyDisk) {
  for (const ReadAlignment alignment : {ReadAlignment{512, 512}, ReadAlignment{512, 4}, ReadAlignment{1, 1}}) {
    open({.alignment = alignment});
    ASSERT_NO_FATAL_FAILURE(load_all());
    EXPECT_EQ(n_here(), layout_.pinned.size());
  }
}

TEST_F(Pinned, ArePutIntoAnotherFormOnTheWay) {
  open();
  open({}, {{.form = Form::kRepacked, .part_unit_bytes = 64}}, place_backwards);
  ASSERT_NO_FATAL_FAILURE(load_all());
  EXPECT_EQ(n_here(), layout_.pinned.size());
  EXPECT_GT(layout_.buffer_bytes, 0u);
}

TEST_F(Pinned, GoFromTheLastOnAndComeBack) {
  open();
  ASSERT_NO_FATAL_FAILURE(load_all());
  const size_t n_all = layout_.pinned.size();
  weights_->give_back(weights_->bytes_held() - 1);
  EXPECT_EQ(n_here(), n_all - 1);
  EXPECT_FALSE(weights_->is_loaded());
  const uint64_t held_bytes = weights_->bytes_held();
  EXPECT_LT(held_bytes, layout_.pinned_bytes);
  weights_->give_back(0);
  EXPECT_EQ(weights_->bytes_held(), weights_->bytes_min());
  for (const PinnedWeight& weight : layout_.pinned) EXPECT_EQ(weights_->data(weight.tensor) != nullptr, !weight.can_go);
  ASSERT_NO_FATAL_FAILURE(load_all());
  EXPECT_EQ(n_here(), n_all);
}

TEST_F(Pinned, StayWhileAStretchThatMayUseThemIsUnderWay) {
  open();
  ASSERT_NO_FATAL_FAILURE(load_all());
  weights_->begin_stretch();
  const PinnedWeight& last = layout_.pinned.back();
  const std::byte* data = weights_->data(last.tensor);
  weights_->give_back(0);
  EXPECT_EQ(weights_->data(last.tensor), nullptr) << "nobody who begins now finds it";
  EXPECT_TRUE(model_->is_at(model_->tensors()[last.tensor].range, data)) << "who had it goes on";
  EXPECT_EQ(weights_->bytes_held(), layout_.pinned_bytes);
  weights_->end_stretch();
  weights_->give_back(0);
  EXPECT_EQ(weights_->bytes_held(), weights_->bytes_min());
}

TEST_F(Pinned, AFailedReadIsSaidAndCanBeMadeAgain) {
  open();
  disk_->options().fail_all = true;
  const auto failed = weights_->load(UINT64_MAX / 2, *queue_, workers_, nullptr);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code(), Code::kIo);
  EXPECT_THAT(failed.error().message(), HasSubstr("sim:/0"));
  EXPECT_EQ(n_here(), 0u);
  disk_->options().fail_all = false;
  ASSERT_NO_FATAL_FAILURE(load_all());
  EXPECT_EQ(n_here(), layout_.pinned.size());
}

TEST_F(Pinned, LoadingCanBeCancelled) {
  open();
  const auto cancelled = weights_->load(UINT64_MAX / 2, *queue_, workers_, [](uint64_t) { return false; });
  ASSERT_FALSE(cancelled);
  EXPECT_EQ(cancelled.error().code(), Code::kCancelled);
}

// One computes with whatever it finds; another takes away and brings back. What is used is always right.
TEST_F(Pinned, AreNeverTakenFromUnderWhoComputes) {
  TRACE_SEED();
  open();
  ASSERT_NO_FATAL_FAILURE(load_all());
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> n_used{0};
  std::thread computes([&] {
    std::mt19937_64 random(test_seed());
    while (!stop) {
      weights_->begin_stretch();
      for (int i = 0; i < 3; ++i) {
        const PinnedWeight& weight = layout_.pinned[random() % layout_.pinned.size()];
        const std::byte* data = weights_->data(weight.tensor);
        if (data == nullptr) continue;
        ++n_used;
        EXPECT_TRUE(model_->is_at(model_->tensors()[weight.tensor].range, data));
      }
      weights_->end_stretch();
    }
  });
  std::mt19937_64 random(test_seed() + 1);
  for (int round = 0; round < 200; ++round) {
    weights_->give_back(random() % layout_.pinned_bytes);
    if (round % 3 == 0) {
      ASSERT_TRUE(weights_->load(1 * MiB, *queue_, workers_, nullptr));
    }
  }
  stop = true;
  computes.join();
  EXPECT_GT(n_used, 0u);
}

}  // namespace
}  // namespace spillway
