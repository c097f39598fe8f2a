// SPDX-License-Identifier: MIT
// Turns a Placement into what the store works with: extents, ranges to load for good, and slots; and finds a weight by
// its address. Plan and store do not know each other: this is where they meet.
#pragma once

#include <cstdint>
#include <vector>

#include "model/gguf_model.h"
#include "plan/placement.h"
#include "store/weight_space.h"

namespace spillway {

// Extents of tensor t are first_extent[t] .. + slices - 1, in slice order; kNoExtent for a tensor that does not stream.
struct Layout {
  static constexpr uint32_t kNoExtent = 0xffffffff;

  std::vector<Extent> extents;
  std::vector<uint32_t> first_extent;         // [n_tensor]
  std::vector<WeightSpace::PinRange> pinned;  // sorted, disjoint, merged: pinned tensors and the edges of streamed ones
  uint64_t pinned_bytes = 0;
  std::vector<uint32_t> n_slots;     // [n_class] as choose_slot_classes(extents)
  std::vector<uint32_t> slot_class;  // [n_extent]
  uint64_t pool_bytes = 0, ring_pool_bytes = 0;
};

// `weights_budget_bytes`: pinned ranges and slots together stay below it.
//   OutOfBudget   they cannot
Result<Layout> lay_out(const GgufModel& model, const Placement& placement, uint64_t weights_budget_bytes);

// Which tensor an address of the mapped model belongs to.
class WeightIndex {
 public:
  static constexpr uint32_t kNone = 0xffffffff;

  WeightIndex(const GgufModel& model, const std::vector<MappedFile>& files);

  // Index into GgufModel::tensors, kNone for an address outside of all weights.
  uint32_t find(const void* address) const;

 private:
  struct Item {
    const std::byte* begin;
    const std::byte* end;
    uint32_t tensor;
  };
  std::vector<Item> items_;  // sorted by address
};

}  // namespace spillway
