// SPDX-License-Identifier: MIT
#include "layout/layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "base/check.h"
#include "base/saturating_sub.h"
#include "layout/tuning.h"

namespace spillway {
namespace {

// Tensors whose slots are of one length.
using Lengths = std::map<uint64_t, std::vector<uint32_t>, std::greater<>>;  // bytes -> tensors, longest first

// First cut: what may stream at all. Dense candidates start out pinned.
struct Sorted {
  std::vector<SlotShape> rooms;  // [n_tensor]
  Lengths dense;
  std::vector<uint32_t> experts;
  uint64_t fixed_bytes = 0;  // of what is too small to stream
  uint64_t dense_bytes = 0;
};

bool flag(const std::vector<bool>& flags, size_t i) { return !flags.empty() && flags[i]; }

WeightShape shape_of(const LayoutRequest& request, size_t tensor) {
  return request.shapes.empty() ? WeightShape{} : request.shapes[tensor];
}

// A slice of its own where slices are used one by one.
SlotShape room_of(const LayoutRequest& request, size_t tensor) {
  const TensorInfo& info = (*request.tensors)[tensor];
  return slot_shape(info.range, info.slices, shape_of(request, tensor), request.alignment);
}

// All slices in a row, as in the file.
SlotShape whole_room_of(const LayoutRequest& request, size_t tensor) {
  const TensorInfo& info = (*request.tensors)[tensor];
  WeightShape shape = shape_of(request, tensor);
  shape.slot_bytes *= info.slices;
  SlotShape room = slot_shape(info.range, 1, shape, request.alignment);
  // In parts of one slice: each is put in place by itself.
  if (room.part_bytes > 0) room.part_bytes = room_of(request, tensor).part_bytes;
  return room;
}

// The tensors in the order in which they are used; those that nobody named, last.
std::vector<uint32_t> in_order(const LayoutRequest& request) {
  std::vector<uint32_t> order = request.order;
  std::vector<bool> named(request.tensors->size());
  for (const uint32_t t : order) named[t] = true;
  for (uint32_t t = 0; t < named.size(); ++t)
    if (!named[t]) order.push_back(t);
  return order;
}

Sorted sort_tensors(const LayoutRequest& request, const std::vector<uint32_t>& order, Layout& layout) {
  Sorted sorted;
  const auto& tensors = *request.tensors;
  layout.tiers.assign(tensors.size(), Tier::kPinned);
  sorted.rooms.resize(tensors.size());
  for (const uint32_t t : order) {
    const TensorInfo& tensor = tensors[t];
    sorted.rooms[t] = room_of(request, t);
    const bool streamable =
        !request.pin_all && tensor.slice_bytes() >= std::max<uint64_t>(request.extent_bytes_min, kPageBytes);
    if (flag(request.on_device, t)) {
      layout.tiers[t] = Tier::kDevice;
      layout.device_bytes += tensor.range.bytes;
    } else if (flag(request.unused, t)) {
      layout.tiers[t] = Tier::kUnused;
      layout.unused_bytes += tensor.range.bytes;
    } else if (streamable && is_row_table(tensor, request.tied_embedding)) {
      layout.tiers[t] = Tier::kRows;
      layout.rows_bytes += tensor.range.bytes;
    } else if (streamable && tensor.slices > 1) {
      layout.tiers[t] = Tier::kExperts;
      layout.expert_tensor_bytes += tensor.range.bytes;
      sorted.experts.push_back(t);
    } else if (streamable) {
      sorted.dense[sorted.rooms[t].room_bytes].push_back(t);
      sorted.dense_bytes += sorted.rooms[t].room_bytes;
    } else {
      // Slices that stay lie as in the file.
      if (tensor.slices > 1) sorted.rooms[t] = whole_room_of(request, t);
      sorted.fixed_bytes += sorted.rooms[t].room_bytes;
    }
  }
  return sorted;
}

// Memory for the buffers, and what is set aside for it. The next step of buffers is saved up for before it is taken, so
// that with more memory never less is left for weights.
struct Staging {
  uint64_t bytes = 0, reserved_bytes = 0;
};

Staging staging(const LayoutRequest& request, const Layout& layout, const Sorted& sorted) {
  uint64_t part_bytes = 0;
  for (size_t t = 0; t < sorted.rooms.size(); ++t)
    if (layout.tiers[t] != Tier::kDevice && layout.tiers[t] != Tier::kUnused && layout.tiers[t] != Tier::kRows)
      part_bytes = std::max(part_bytes, sorted.rooms[t].part_bytes);
  if (part_bytes == 0) return {};
  const uint64_t one_bytes = round_up(part_bytes + 2 * kPageBytes, kPageBytes);
  const uint64_t step_bytes = round_up(one_bytes, layout.unit_bytes);
  const auto after = [&](uint64_t n_steps) {
    return std::clamp<uint64_t>(n_steps * step_bytes, round_up(kStagingBuffersMin * one_bytes, layout.unit_bytes),
                                round_up(kStagingBuffersMax * one_bytes, layout.unit_bytes));
  };
  const uint64_t n_steps = request.weights_budget_bytes / kStagingShare / step_bytes;
  const uint64_t bytes = after(n_steps), before_bytes = n_steps > 0 ? after(n_steps - 1) : bytes;
  const uint64_t saved_bytes = before_bytes + request.weights_budget_bytes - n_steps * step_bytes * kStagingShare;
  return saved_bytes < bytes ? Staging{before_bytes, saved_bytes} : Staging{bytes, bytes};
}

// --- experts -------------------------------------------------------------------------------------------------------

// Extents for the slices of each expert tensor, and their classes.
void add_experts(const LayoutRequest& request, const Sorted& sorted, Layout& layout) {
  std::vector<uint64_t> lengths;
  for (const uint32_t t : sorted.experts) lengths.push_back(sorted.rooms[t].room_bytes);
  const std::vector<uint32_t> class_of = add_classes(lengths, Pool::kExperts, layout.classes);
  for (size_t i = 0; i < sorted.experts.size(); ++i) {
    const uint32_t t = sorted.experts[i];
    const TensorInfo& tensor = (*request.tensors)[t];
    const SlotShape& room = sorted.rooms[t];
    layout.classes[class_of[i]].n_extents += tensor.slices;
    if (request.figures_only) continue;
    layout.first_extent[t] = static_cast<uint32_t>(layout.extents.size());
    for (uint32_t s = 0; s < tensor.slices; ++s)
      layout.extents.push_back({.pool = Pool::kExperts,
                                .slot_class = class_of[i],
                                .file = tensor.file,
                                .range = {tensor.range.offset + s * tensor.slice_bytes(), tensor.slice_bytes()},
                                .tensor = t,
                                .slice = s,
                                .turn = static_cast<uint32_t>(std::max(tensor.layer, 0)),
                                .data_offset = room.data_offset,
                                .part_bytes = room.part_bytes});
  }
  for (SlotClass& slot_class : layout.classes)
    slot_class.n_slots_min =
        static_cast<uint32_t>(std::min<uint64_t>(expert_slots_min(request.n_expert_used), slot_class.n_extents));
}

// The same tensors once more, for passes that use nearly all of them: slots of one length for all.
void add_whole(const LayoutRequest& request, const Sorted& sorted, Layout& layout) {
  if (sorted.experts.empty()) return;
  const auto slot_class = static_cast<uint32_t>(layout.classes.size());
  SlotClass& whole = layout.classes.emplace_back(SlotClass{.pool = Pool::kWhole});
  for (const uint32_t t : sorted.experts) {
    const TensorInfo& tensor = (*request.tensors)[t];
    const SlotShape room = whole_room_of(request, t);
    whole.slot_bytes = std::max(whole.slot_bytes, room.room_bytes);
    ++whole.n_extents;
    if (request.figures_only) continue;
    layout.whole_extent[t] = static_cast<uint32_t>(layout.extents.size());
    layout.extents.push_back({.pool = Pool::kWhole,
                              .slot_class = slot_class,
                              .file = tensor.file,
                              .range = tensor.range,
                              .tensor = t,
                              .turn = static_cast<uint32_t>(std::max(tensor.layer, 0)),
                              .data_offset = room.data_offset,
                              .part_bytes = room.part_bytes});
  }
}

// --- dense weights -------------------------------------------------------------------------------------------------

// What streaming `n_slots` slots of a length costs.
uint64_t ring_cost(uint64_t slot_bytes, uint64_t n_slots, uint64_t unit_bytes) {
  return round_up(n_slots * slot_bytes, unit_bytes);
}

// The lengths that take less memory streamed than pinned, the one with most bytes first: few lengths, few slots. A
// length with no more tensors than slots never does.
std::vector<const Lengths::value_type*> worth_streaming(const Lengths& dense, uint32_t n_slots, uint64_t unit_bytes) {
  std::vector<const Lengths::value_type*> lengths;
  for (const auto& length : dense)
    if (ring_cost(length.first, n_slots, unit_bytes) < length.first * length.second.size()) lengths.push_back(&length);
  std::stable_sort(lengths.begin(), lengths.end(), [](const auto* a, const auto* b) {
    return a->first * a->second.size() > b->first * b->second.size();
  });
  return lengths;
}

// The least memory for dense weights: everything streams that takes less that way.
uint64_t dense_bytes_min(const Sorted& sorted, uint32_t n_slots, uint64_t unit_bytes) {
  uint64_t sum = sorted.dense_bytes;
  for (const auto* length : worth_streaming(sorted.dense, n_slots, unit_bytes))
    sum -= length->first * length->second.size() - ring_cost(length->first, n_slots, unit_bytes);
  return sum;
}

struct DensePlan {
  std::vector<uint32_t> streamed;  // tensors
  uint64_t ring_pool_bytes = 0;
};

// Streams as few dense tensors as `available_bytes` for dense weights and their ring allow: whole lengths at a time,
// and of the last one every n-th, evenly over the layers, so that reading and computing alternate. Requires
// dense_bytes_min().
//
// Memory goes to slots first, up to kRingSlotsWanted, and then to pinning. So with more memory never more streams, and
// no plan is worse than one for less.
DensePlan plan_dense(const Sorted& sorted, uint64_t available_bytes, uint64_t unit_bytes) {
  DensePlan plan;
  uint32_t n_slots = kRingSlotsWanted;
  while (n_slots > kRingSlotsMin && dense_bytes_min(sorted, n_slots, unit_bytes) > available_bytes) --n_slots;
  if (n_slots < kRingSlotsWanted) available_bytes = 0;  // stream all: the next slots come before pinning
  uint64_t needed_bytes = sorted.dense_bytes;
  for (const auto* length : worth_streaming(sorted.dense, n_slots, unit_bytes)) {
    const auto& [bytes, members] = *length;
    uint64_t n = 0, ring_bytes = 0;
    for (; n < members.size() && needed_bytes > available_bytes; ++n) {
      const uint64_t before_bytes = ring_bytes;
      ring_bytes = ring_cost(bytes, std::min<uint64_t>(n + 1, n_slots), unit_bytes);
      needed_bytes += ring_bytes - before_bytes - bytes;
    }
    for (uint64_t k = 0; k < n; ++k) plan.streamed.push_back(members[k * members.size() / n]);
    plan.ring_pool_bytes += ring_bytes;
  }
  return plan;
}

void add_ring(const LayoutRequest& request, const Sorted& sorted, DensePlan plan, const std::vector<uint32_t>& order,
              Layout& layout) {
  std::vector<uint32_t> place(order.size());
  for (uint32_t i = 0; i < order.size(); ++i) place[order[i]] = i;
  std::sort(plan.streamed.begin(), plan.streamed.end(), [&](uint32_t a, uint32_t b) { return place[a] < place[b]; });
  std::vector<uint64_t> lengths;
  for (const uint32_t t : plan.streamed) lengths.push_back(sorted.rooms[t].room_bytes);
  const std::vector<uint32_t> class_of = add_classes(lengths, Pool::kRing, layout.classes);
  for (size_t i = 0; i < plan.streamed.size(); ++i) {
    const uint32_t t = plan.streamed[i];
    const TensorInfo& tensor = (*request.tensors)[t];
    layout.tiers[t] = Tier::kRing;
    layout.ring_tensor_bytes += tensor.range.bytes;
    ++layout.classes[class_of[i]].n_extents;
    if (request.figures_only) continue;
    layout.first_extent[t] = static_cast<uint32_t>(layout.extents.size());
    layout.extents.push_back({.pool = Pool::kRing,
                              .slot_class = class_of[i],
                              .file = tensor.file,
                              .range = tensor.range,
                              .tensor = t,
                              .turn = static_cast<uint32_t>(std::max(tensor.layer, 0)),
                              .data_offset = sorted.rooms[t].data_offset,
                              .part_bytes = sorted.rooms[t].part_bytes});
  }
  for (SlotClass& slot_class : layout.classes)
    if (slot_class.pool == Pool::kRing) slot_class.n_slots_min = std::min(kRingSlotsMin, slot_class.n_extents);
}

// --- what stays ----------------------------------------------------------------------------------------------------

// What may be given back stands behind what may not, in the order of use: the last layers go first.
void add_pinned(const LayoutRequest& request, const Sorted& sorted, const std::vector<uint32_t>& order,
                Layout& layout) {
  uint64_t at = 0;
  for (const bool can_go : {false, true})
    for (const uint32_t t : order) {
      if (layout.tiers[t] != Tier::kPinned || (*request.tensors)[t].range.empty()) continue;
      const bool large = !request.pin_all && (*request.tensors)[t].range.bytes >= request.elastic_bytes_min;
      if (large != can_go) continue;
      if (!request.figures_only)
        layout.pinned.push_back({.tensor = t, .begin = at, .shape = sorted.rooms[t], .can_go = can_go});
      at += sorted.rooms[t].room_bytes;
    }
  layout.pinned_bytes = round_up(at, layout.unit_bytes);
}

uint64_t host_bytes(const LayoutRequest& request) {
  uint64_t sum = 0;
  for (size_t t = 0; t < request.tensors->size(); ++t)
    if (!flag(request.on_device, t) && !flag(request.unused, t)) sum += (*request.tensors)[t].range.bytes;
  return sum;
}

Status too_little(const LayoutRequest& request, const Layout& layout) {
  return {Code::kOutOfBudget, fmt::format("streaming needs at least {} for weights and the budget leaves {}",
                                          format_bytes(layout.bytes_min), format_bytes(request.weights_budget_bytes))};
}

// The layout in units of one size.
Result<Layout> lay_out_in_units(const LayoutRequest& request, uint64_t unit_bytes) {
  // 1. What could stream, and what is too small for that.
  Layout layout;
  layout.unit_bytes = unit_bytes;
  for (size_t t = 0; t < request.tensors->size(); ++t) layout.shapes.push_back(shape_of(request, t));
  layout.first_extent.assign(request.tensors->size(), Layout::kNoExtent);
  layout.whole_extent.assign(request.tensors->size(), Layout::kNoExtent);
  const std::vector<uint32_t> order = in_order(request);
  const Sorted sorted = sort_tensors(request, order, layout);
  const Staging buffers = staging(request, layout, sorted);
  layout.buffer_bytes = buffers.bytes;

  // 2. The least of everything. The pinned area ends with a part of a unit.
  add_experts(request, sorted, layout);
  uint64_t experts_min_bytes = 0;
  for (const SlotClass& slot_class : layout.classes)
    experts_min_bytes += area_bytes(slot_class, slot_class.n_slots_min, layout.unit_bytes);
  const uint64_t others_bytes = buffers.reserved_bytes + sorted.fixed_bytes + layout.unit_bytes - kPageBytes;
  layout.bytes_min = others_bytes + experts_min_bytes + dense_bytes_min(sorted, kRingSlotsMin, layout.unit_bytes);
  if (layout.bytes_min > request.weights_budget_bytes) return Failure(too_little(request, layout));

  // 3. As many dense weights stay as can: they are read for every token.
  DensePlan dense =
      plan_dense(sorted, request.weights_budget_bytes - others_bytes - experts_min_bytes, layout.unit_bytes);
  const uint64_t ring_budget_bytes = dense.ring_pool_bytes;
  const bool dense_streams = !dense.streamed.empty();
  add_ring(request, sorted, std::move(dense), order, layout);
  add_pinned(request, sorted, order, layout);
  add_whole(request, sorted, layout);

  // 4. Slots. While dense weights stream, what is left over is less than one of them; it is not promised to the
  // experts, or a little more budget could take it from them again.
  std::vector<uint32_t> n_extents;
  for (const SlotClass& slot_class : layout.classes) n_extents.push_back(slot_class.n_extents);
  layout.n_slots.assign(layout.classes.size(), 0);
  const auto deal = [&](Pool pool, uint64_t bytes) {
    const std::vector<uint32_t> dealt = deal_slots(layout.classes, pool, n_extents, bytes, layout.unit_bytes);
    for (size_t c = 0; c < dealt.size(); ++c) layout.n_slots[c] += dealt[c];
    return dealt.size() == layout.classes.size();
  };
  const auto pool_bytes = [&] {
    uint64_t sum = 0;
    for (size_t c = 0; c < layout.classes.size(); ++c)
      sum += area_bytes(layout.classes[c], layout.n_slots[c], layout.unit_bytes);
    return sum;
  };
  const bool ring_fits = deal(Pool::kRing, ring_budget_bytes);
  layout.ring_pool_bytes = pool_bytes();
  const uint64_t used_bytes = layout.pinned_bytes + buffers.reserved_bytes + layout.ring_pool_bytes;
  const uint64_t left_bytes = saturating_sub(request.weights_budget_bytes, used_bytes);
  const bool experts_fit = deal(Pool::kExperts, dense_streams ? std::min(left_bytes, experts_min_bytes) : left_bytes);
  layout.pool_bytes = pool_bytes();
  if (!ring_fits || !experts_fit) return Failure(too_little(request, layout));
  return layout;
}

}  // namespace

uint64_t expert_slots_min(uint64_t n_expert_used) { return 2 * std::max<uint64_t>(n_expert_used, 1); }

bool is_row_table(const TensorInfo& tensor, bool tied_embedding) {
  if (tensor.role != TensorRole::kEmbedding) return false;
  return tensor.name != "token_embd.weight" || !tied_embedding;
}

uint64_t resident_bytes(const LayoutRequest& request) {
  LayoutRequest all = request;
  all.pin_all = all.figures_only = true;
  all.weights_budget_bytes = UINT64_MAX / 2;
  const auto laid_out = lay_out(all);
  CHECK(laid_out.has_value());  // without a limit all fits
  return laid_out->bytes();
}

uint64_t least_bytes(const LayoutRequest& request) {
  LayoutRequest least = request;
  least.figures_only = true;
  least.weights_budget_bytes = UINT64_MAX / 2;
  const auto boundless = lay_out(least);
  CHECK(boundless.has_value());
  // What works with a budget works with every larger one.
  uint64_t too_little_bytes = 0, enough_bytes = boundless->bytes_min;
  const auto is_enough = [&](uint64_t bytes) {
    least.weights_budget_bytes = bytes;
    return lay_out(least).has_value();
  };
  if (is_enough(0)) return 0;
  CHECK(is_enough(enough_bytes));
  while (enough_bytes - too_little_bytes > 1) {
    const uint64_t middle_bytes = too_little_bytes + (enough_bytes - too_little_bytes) / 2;
    (is_enough(middle_bytes) ? enough_bytes : too_little_bytes) = middle_bytes;
  }
  return enough_bytes;
}

Result<Layout> lay_out(const LayoutRequest& request) {
  const uint64_t bytes = std::min(request.weights_budget_bytes, host_bytes(request));
  constexpr uint64_t small_bytes_max = kHugePagesMin * kHugePageBytes - 1;
  if (bytes <= small_bytes_max) return lay_out_in_units(request, kPageBytes);
  Result<Layout> large = lay_out_in_units(request, kHugePageBytes);
  if (large && large->ring_tensor_bytes == 0) return large;
  // Rounding up to huge pages must not make more weights stream than the most memory that comes in small ones.
  LayoutRequest less = request;
  less.weights_budget_bytes = small_bytes_max;
  less.figures_only = true;
  const auto small = lay_out_in_units(less, kPageBytes);
  if (!small || (large && large->ring_tensor_bytes <= small->ring_tensor_bytes)) return large;
  less.figures_only = request.figures_only;
  return lay_out_in_units(less, kPageBytes);
}

}  // namespace spillway
