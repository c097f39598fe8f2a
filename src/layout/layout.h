// SPDX-License-Identifier: MIT
// Where each tensor lives within a budget, and all memory that takes: the only account of it. Pure: no disk, no clock,
// no library. A plan contains one, made from metadata; a load makes it again from what it has found out since, and the
// store does what it says.
//
//     pinned area   dense weights that stay, in the order in which they would be given back, the last first
//     slot areas    one for each length: ring, experts, and whole expert tensors while a long pass runs
//     buffers       for what cannot be read in place
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"
#include "layout/extent.h"
#include "layout/slot_deal.h"
#include "layout/slot_shape.h"
#include "layout/tier.h"
#include "layout/tuning.h"
#include "model/gguf_model.h"

namespace spillway {

struct LayoutRequest {
  const std::vector<TensorInfo>* tensors = nullptr;
  std::vector<bool> on_device = {}, unused = {};  // [n_tensor]; empty: none is
  std::vector<WeightShape> shapes = {};           // [n_tensor]; empty: all plain
  BlockAlignment alignment = {};
  bool tied_embedding = false;  // the embedding is the output matrix too, so all of it is read in each pass
  uint64_t n_expert_used = 0;
  uint64_t extent_bytes_min = 0;  // a tensor or slice smaller than this is pinned
  // One that stays and is smaller than this is never given back.
  uint64_t elastic_bytes_min = kElasticBytesMin;
  uint64_t weights_budget_bytes = 0;  // what all of this may take
  bool pin_all = false;               // everything on the host stays, tables of rows too: a resident model
  bool figures_only = false;          // no extents and no list of what is pinned: a trillion parameters have many
  std::vector<uint32_t> order = {};   // tensors in the order in which a pass uses them; empty: that of the file
};

// A tensor that stays, in the pinned area.
struct PinnedWeight {
  uint32_t tensor = 0;
  uint64_t begin = 0;  // of its room within the area
  SlotShape shape;
  bool can_go = false;  // worth giving back when memory is short

  uint64_t data_begin() const { return begin + shape.data_offset; }
  uint64_t end() const { return begin + shape.room_bytes; }
};

struct Layout {
  static constexpr uint32_t kNoExtent = 0xffffffff;

  std::vector<Tier> tiers;          // [n_tensor]
  std::vector<WeightShape> shapes;  // [n_tensor]
  std::vector<PinnedWeight> pinned;
  // Extents of tensor t are first_extent[t] .. + slices - 1, in slice order; whole_extent[t] has all of an expert
  // tensor's. kNoExtent for a tensor that does not stream.
  std::vector<Extent> extents;
  std::vector<uint32_t> first_extent, whole_extent;  // [n_tensor]
  std::vector<SlotClass> classes;
  std::vector<uint32_t> n_slots;  // [n_class], for decoding

  uint64_t unit_bytes = kHugePageBytes;  // areas are taken and given back in these
  uint64_t pinned_bytes = 0, pool_bytes = 0, ring_pool_bytes = 0, buffer_bytes = 0;
  uint64_t ring_tensor_bytes = 0, expert_tensor_bytes = 0, rows_bytes = 0, device_bytes = 0, unused_bytes = 0;
  uint64_t bytes_min = 0;  // the least weights budget that could stream this model

  bool streams() const { return !classes.empty(); }
  uint64_t bytes() const { return pinned_bytes + pool_bytes + buffer_bytes; }
  Form form(uint32_t tensor) const { return shapes[tensor].form; }
};

// Streams what does not fit. What works with a budget works with every larger one, and then no more dense weights
// stream.
//   OutOfBudget   not even one token's need fits: the message says the minimum
Result<Layout> lay_out(const LayoutRequest& request);

// What pinning everything takes, buffers included.
uint64_t resident_bytes(const LayoutRequest& request);

// The least weights budget with which it can stream.
uint64_t least_bytes(const LayoutRequest& request);

// Whether only single rows of a tensor are ever read.
bool is_row_table(const TensorInfo& tensor, bool tied_embedding);

// The least slots for a length of slice: one operation's experts while the next one's are read.
uint64_t expert_slots_min(uint64_t n_expert_used);

}  // namespace spillway
