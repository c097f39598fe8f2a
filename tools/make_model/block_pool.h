// SPDX-License-Identifier: MIT
// Quantised blocks of Gaussian numbers, made once and copied many times: quantising every weight would run at a few
// dozen MB/s, copying runs at the disk's pace.
//
// A row is put together from several runs of neighbouring blocks, each from a random place in the pool, so that no two
// experts or tensors hold the same bytes (nor two rows, if they have a few blocks) and reading from a wrong place shows
// in the logits. Blocks carry their scale inside, hence one pool for each (type, sigma).
#pragma once

#include <ggml.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "make_model/random.h"
#include "make_model/tensor_plan.h"

namespace spillway::make_model {

// Read-only once made.
class BlockPool {
 public:
  BlockPool(ggml_type type, float sigma, uint64_t bytes, uint64_t seed);

  void compose_row(Random& random, std::span<std::byte> row) const;

 private:
  const ggml_type type_;
  const uint64_t block_bytes_;
  std::vector<std::byte> blocks_;
};

// The pools that a list of tensors needs. Thread-safe, being read-only.
class BlockPools {
 public:
  BlockPools(std::span<const TensorPlan> tensors, uint64_t seed);

  // `tensor` is one of those, with Fill::kPooled.
  const BlockPool& pool_for(const TensorPlan& tensor) const { return pools_.at({tensor.type, tensor.sigma}); }

  uint64_t bytes() const { return bytes_; }

 private:
  std::map<std::pair<ggml_type, float>, BlockPool> pools_;
  uint64_t bytes_ = 0;
};

}  // namespace spillway::make_model
