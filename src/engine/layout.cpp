// SPDX-License-Identifier: MIT
#include "engine/layout.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/pool_classes.h"

namespace spillway {
namespace {

using PinRange = WeightSpace::PinRange;

void add_edges(std::vector<PinRange>& pinned, uint32_t file, ByteRange slice) {
  const ByteRange inside = whole_pages_inside(slice);
  const ByteRange around = pages_around(slice);
  if (around.offset < inside.offset) pinned.push_back({file, {around.offset, inside.offset - around.offset}});
  if (inside.end() < around.end()) pinned.push_back({file, {inside.end(), around.end() - inside.end()}});
}

std::vector<PinRange> merged(std::vector<PinRange> ranges) {
  std::sort(ranges.begin(), ranges.end(), [](const PinRange& a, const PinRange& b) {
    return std::pair(a.file, a.pages.offset) < std::pair(b.file, b.pages.offset);
  });
  std::vector<PinRange> out;
  for (const PinRange& range : ranges) {
    if (!out.empty() && out.back().file == range.file && range.pages.offset <= out.back().pages.end())
      out.back().pages.bytes = std::max(out.back().pages.end(), range.pages.end()) - out.back().pages.offset;
    else
      out.push_back(range);
  }
  return out;
}

// Slots for the ring as planned, the rest of the budget for experts.
Result<void> deal(Layout& layout, const Placement& placement, uint64_t pool_budget_bytes, uint64_t n_expert_used) {
  const PoolClasses classes = pool_classes(layout.extents, n_expert_used);
  const size_t n_class = classes.slot_bytes.size();
  const std::vector<uint32_t> ring = classes.deal(Pool::kRing, classes.n_extents, placement.ring_pool_bytes);
  layout.n_slots.assign(n_class, 0);
  layout.slot_class = classes.class_of;
  if (!ring.empty()) layout.n_slots = ring;
  for (size_t c = 0; c < n_class; ++c) layout.ring_pool_bytes += layout.n_slots[c] * classes.slot_bytes[c];
  const std::vector<uint32_t> experts = classes.deal(
      Pool::kExperts, classes.n_extents, pool_budget_bytes - std::min(pool_budget_bytes, layout.ring_pool_bytes));
  for (size_t c = 0; c < n_class; ++c) {
    if (!classes.is_ring[c] && !experts.empty()) layout.n_slots[c] = experts[c];
    layout.pool_bytes += layout.n_slots[c] * classes.slot_bytes[c];
    if (layout.n_slots[c] == 0)
      return error(Code::kOutOfBudget, fmt::format("the budget leaves {} for streaming, too little for this model",
                                                   format_bytes(pool_budget_bytes)));
  }
  return {};
}

}  // namespace

Result<Layout> lay_out(const GgufModel& model, const Placement& placement, uint64_t weights_budget_bytes) {
  Layout layout;
  layout.first_extent.assign(model.tensors.size(), Layout::kNoExtent);
  std::vector<PinRange> pinned;
  for (size_t t = 0; t < model.tensors.size(); ++t) {
    const TensorInfo& tensor = model.tensors[t];
    const Tier tier = placement.tiers.at(t);
    if (tier == Tier::kPinned) pinned.push_back({tensor.file, pages_around(tensor.range)});
    if (tier != Tier::kRing && tier != Tier::kExperts) continue;
    layout.first_extent[t] = static_cast<uint32_t>(layout.extents.size());
    for (uint32_t s = 0; s < tensor.slices; ++s) {
      const ByteRange slice{tensor.range.offset + s * tensor.slice_bytes(), tensor.slice_bytes()};
      layout.extents.push_back({.file = tensor.file,
                                .pages = whole_pages_inside(slice),
                                .pool = tier == Tier::kRing ? Pool::kRing : Pool::kExperts,
                                .group = static_cast<uint32_t>(std::max(tensor.layer, 0))});
      add_edges(pinned, tensor.file, slice);
    }
  }
  layout.pinned = merged(std::move(pinned));
  for (const PinRange& range : layout.pinned) layout.pinned_bytes += range.pages.bytes;
  const uint64_t pool_budget_bytes = weights_budget_bytes - std::min(weights_budget_bytes, layout.pinned_bytes);
  RETURN_IF_ERROR(deal(layout, placement, pool_budget_bytes, model.n_expert_used));
  return layout;
}

WeightIndex::WeightIndex(const GgufModel& model, const std::vector<MappedFile>& files) {
  for (uint32_t t = 0; t < model.tensors.size(); ++t) {
    const TensorInfo& tensor = model.tensors[t];
    const std::byte* base = files.at(tensor.file).base;
    if (base == nullptr || tensor.range.empty()) continue;
    items_.push_back({base + tensor.range.offset, base + tensor.range.end(), t});
  }
  std::sort(items_.begin(), items_.end(), [](const Item& a, const Item& b) { return a.begin < b.begin; });
}

uint32_t WeightIndex::find(const void* address) const {
  const auto* at = static_cast<const std::byte*>(address);
  const auto after = std::upper_bound(items_.begin(), items_.end(), at,
                                      [](const std::byte* a, const Item& item) { return a < item.begin; });
  if (after == items_.begin()) return kNone;
  const Item& item = *(after - 1);
  return at < item.end ? item.tensor : kNone;
}

}  // namespace spillway
