// SPDX-License-Identifier: MIT
#include "engine/repacked_forms.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "backend/llama_handles.h"
#include "probe/matmul_probe.h"

namespace spillway {
namespace {

constexpr int64_t kIn = 512, kOut = 64;
constexpr uint32_t kExperts = 4;
enum Tensors : uint32_t { kEmbedding, kMatrix, kSlices, kFloats, kAdded };

// Weights as a mapped file has them, and a graph that uses them. q4_0 has a repacked form on every processor that
// libllama knows well.
class RepackedFormsTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(start_llama());
    context_.reset(ggml_init({.mem_size = 2 * MiB, .mem_buffer = nullptr, .no_alloc = true}));
    ggml_context* c = context_.get();
    for (ggml_tensor* weight :
         {ggml_new_tensor_2d(c, GGML_TYPE_Q4_0, kIn, kOut), ggml_new_tensor_2d(c, GGML_TYPE_Q4_0, kIn, kOut),
          ggml_new_tensor_3d(c, GGML_TYPE_Q4_0, kIn, kOut, kExperts), ggml_new_tensor_2d(c, GGML_TYPE_F32, kIn, kOut),
          ggml_new_tensor_2d(c, GGML_TYPE_Q4_0, kIn, kOut)})
      add(weight);
    file_.resize(end_);
    std::mt19937 random(5);
    for (size_t t = 0; t < weights_.size(); ++t) {
      std::vector<float> values(static_cast<size_t>(ggml_nelements(weights_[t])));
      for (float& value : values) value = std::uniform_real_distribution<float>(-1, 1)(random);
      weights_[t]->data = file_.data() + model_.tensors[t].range.offset;
      ggml_quantize_chunk(weights_[t]->type, values.data(), weights_[t]->data, 0, ggml_nrows(weights_[t]), kIn,
                          nullptr);
    }
    model_.n_expert = kExperts;
    model_.n_expert_used = 2;
    index_.emplace(model_, std::vector<std::byte*>{file_.data()});

    ggml_tensor* input = ggml_new_tensor_2d(c, GGML_TYPE_F32, kIn, 1);
    ggml_tensor* ids = ggml_new_tensor_2d(c, GGML_TYPE_I32, 2, 1);
    note(ggml_get_rows(c, weights_[kEmbedding], ggml_new_tensor_1d(c, GGML_TYPE_I32, 1)));
    for (const uint32_t t : {kEmbedding, kMatrix, kFloats, kAdded}) note(ggml_mul_mat(c, weights_[t], input));
    note(ggml_mul_mat_id(c, weights_[kSlices], ggml_reshape_3d(c, input, kIn, 1, 1), ids));
    note(ggml_add(c, ggml_dup(c, input), ggml_view_1d(c, weights_[kAdded], kIn, 0)));
    forms_ = RepackedForms::find(model_, order_);
  }

  void add(ggml_tensor* weight) {
    const uint32_t slices = weight->ne[2] > 1 ? kExperts : 1;
    model_.tensors.push_back({.name = "t" + std::to_string(weights_.size()),
                              .type = "q4_0",
                              .range = {end_, ggml_nbytes(weight)},
                              .slices = slices});
    end_ += ggml_nbytes(weight);
    weights_.push_back(weight);
  }
  void note(const ggml_tensor* node) { order_.note(node, *index_); }

  ContextPtr context_;
  GgufModel model_;
  uint64_t end_ = 0;
  std::vector<std::byte> file_;
  std::vector<ggml_tensor*> weights_;
  std::optional<WeightIndex> index_;
  PassOrder order_;
  RepackedForms forms_;
};

TEST_F(RepackedFormsTest, AMatrixHasAFormWhereAllThatUsesItMultiplies) {
  EXPECT_TRUE(forms_.is_repacked(kMatrix));
  EXPECT_TRUE(forms_.is_repacked(kSlices));
  EXPECT_FALSE(forms_.is_repacked(kFloats));
  EXPECT_FALSE(forms_.is_repacked(kAdded));
  EXPECT_FALSE(forms_.has_rows(kMatrix));
  EXPECT_TRUE(forms_.has_rows(kEmbedding)) << "rows of it are read too";
}

TEST_F(RepackedFormsTest, ASliceIsPutInPlaceInPartsAsAtOnce) {
  const WeightShape shape = forms_.shape(kSlices);
  EXPECT_EQ(shape.form, Form::kRepacked);
  const uint64_t slice_bytes = model_.tensors[kSlices].slice_bytes();
  ASSERT_GE(shape.slot_bytes, slice_bytes);
  if (shape.part_unit_bytes == 0) GTEST_SKIP() << "only as a whole on this processor";
  const std::byte* from = file_.data() + model_.tensors[kSlices].range.offset + 2 * slice_bytes;
  std::vector<std::byte> whole(shape.slot_bytes), parts(shape.slot_bytes);
  forms_.place(kSlices, {0, slice_bytes}, from, whole.data());
  for (uint64_t at = 0; at < slice_bytes; at += shape.part_unit_bytes) {
    const uint64_t bytes = std::min(shape.part_unit_bytes, slice_bytes - at);
    forms_.place(kSlices, {at, bytes}, from + at, parts.data());
  }
  EXPECT_EQ(whole, parts);
  EXPECT_NE(std::memcmp(whole.data(), from, slice_bytes), 0) << "another form";
}

// What a node computes that is given a stand-in is what it computes with a weight in ggml's own buffer.
TEST_F(RepackedFormsTest, AStandInIsMultipliedByAsAWeightInGgmlsOwnBuffer) {
  const BackendPtr backend = open_cpu_backend(1);
  std::vector<std::vector<float>> results;
  for (const bool ours : {true, false}) {
    const ContextPtr c(ggml_init({.mem_size = 2 * MiB, .mem_buffer = nullptr, .no_alloc = true}));
    ggml_tensor* weight = ggml_new_tensor_2d(c.get(), GGML_TYPE_Q4_0, kIn, kOut);
    ggml_tensor* input = ggml_new_tensor_2d(c.get(), GGML_TYPE_F32, kIn, 3);
    ggml_tensor* product = ggml_mul_mat(c.get(), weight, input);
    std::vector<std::byte> slot(forms_.shape(kMatrix).slot_bytes + 64);
    BufferPtr buffer;
    if (ours) {
      auto* data = reinterpret_cast<std::byte*>(round_up(reinterpret_cast<uint64_t>(slot.data()), 64));
      forms_.place(kMatrix, {0, ggml_nbytes(weight)}, static_cast<const std::byte*>(weights_[kMatrix]->data), data);
      weight->data = data;
      forms_.mark(*weight, kMatrix);
    } else {
      ggml_tensor marked = *weight;
      forms_.mark(marked, kMatrix);
      ggml_backend_buffer_type_t type = ggml_backend_buffer_get_type(marked.buffer);
      buffer.reset(ggml_backend_buft_alloc_buffer(type, ggml_backend_buft_get_alloc_size(type, weight) + 64));
      ggml_backend_tensor_alloc(buffer.get(), weight, ggml_backend_buffer_get_base(buffer.get()));
      ggml_backend_tensor_set(weight, weights_[kMatrix]->data, 0, ggml_nbytes(weight));
    }
    std::vector<float> values(3 * kIn), result(3 * kOut);
    std::mt19937 random(7);
    for (float& value : values) value = std::uniform_real_distribution<float>(-1, 1)(random);
    input->data = values.data();
    product->data = result.data();
    ggml_cgraph* graph = ggml_new_graph(c.get());
    ggml_build_forward_expand(graph, product);
    ASSERT_EQ(ggml_backend_graph_compute(backend.get(), graph), GGML_STATUS_SUCCESS);
    results.push_back(result);
  }
  EXPECT_EQ(results[0], results[1]);
}

}  // namespace
}  // namespace spillway
