// SPDX-License-Identifier: MIT
// Turns a planned tensor into bytes, any rows in any order: each row depends on the seed, the tensor's name and the
// row's number, nothing else. So a model has the same tensors however it is split into files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "make_model/block_pool.h"
#include "make_model/embedding_table.h"
#include "make_model/model_spec.h"
#include "make_model/routing.h"
#include "make_model/tensor_plan.h"

namespace spillway::make_model {

// Thread-safe, being read-only once made. `spec` and `tensors` must outlive it.
class Composer {
 public:
  // Quantises the pools: seconds at most, and about 100 MB at most.
  Composer(const ModelSpec& spec, std::span<const TensorPlan> tensors);

  // Writes rows [first_row, first_row + destination.size() / row_bytes) of `tensor`, one of those given.
  void compose(const TensorPlan& tensor, int64_t first_row, std::span<std::byte> destination) const;

 private:
  void draw_numbers(const TensorPlan& tensor, int64_t row, Random& random, std::span<float> numbers) const;

  const ModelSpec& spec_;
  const BlockPools pools_;
  std::optional<RoutingDesign> routing_;
  std::optional<EmbeddingTable> embeddings_;
};

}  // namespace spillway::make_model
