// SPDX-License-Identifier: MIT
// Which tensor of the model an address of its mapping belongs to. Constant, any thread.
#pragma once

#include <ggml.h>

#include <cstdint>
#include <vector>

#include "model/gguf_model.h"

namespace spillway {

class WeightIndex {
 public:
  static constexpr uint32_t kNone = 0xffffffff;

  // `bases`: where each file is mapped, nullptr where it is not. Regions of a mapping that hold no tensor are nobody's:
  // libllama unmaps what it does not use at either end of a file, and the addresses may be others' by now.
  WeightIndex(const GgufModel& model, const std::vector<std::byte*>& bases);

  // Index into GgufModel::tensors; kNone for an address outside of all weights.
  uint32_t find(const void* address) const;

 private:
  struct Item {
    const std::byte* begin;
    const std::byte* end;
    uint32_t tensor;
  };
  std::vector<Item> items_;  // sorted by address
};

// The tensor whose memory `tensor` shows, through views.
inline const ggml_tensor* root_of(const ggml_tensor* tensor) {
  while (tensor->view_src != nullptr) tensor = tensor->view_src;
  return tensor;
}

// Nodes that only rename memory.
inline bool computes_nothing(const ggml_tensor* node) {
  switch (node->op) {
    case GGML_OP_NONE:
    case GGML_OP_VIEW:
    case GGML_OP_RESHAPE:
    case GGML_OP_PERMUTE:
    case GGML_OP_TRANSPOSE:
      return true;
    default:
      return false;
  }
}

// The node that computes the memory `node` shows: through views and reshapes.
inline const ggml_tensor* producer_of(const ggml_tensor* node) {
  while (node != nullptr && computes_nothing(node) && node->src[0] != nullptr) node = node->src[0];
  return node;
}

}  // namespace spillway
