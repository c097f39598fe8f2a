// SPDX-License-Identifier: MIT
#include "engine/weight_index.h"

#include <algorithm>

namespace spillway {

WeightIndex::WeightIndex(const GgufModel& model, const std::vector<std::byte*>& bases) {
  for (uint32_t t = 0; t < model.tensors.size(); ++t) {
    const TensorInfo& tensor = model.tensors[t];
    const std::byte* base = bases.at(tensor.file);
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
