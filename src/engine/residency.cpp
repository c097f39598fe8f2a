// SPDX-License-Identifier: MIT
#include "engine/residency.h"

#include <algorithm>
#include <cmath>

#include "layout/layout.h"

namespace spillway {
namespace {

struct Bytes {
  uint64_t device = 0, ram = 0, disk = 0;
  uint64_t sum() const { return device + ram + disk; }
};

// Biases stay in memory when their expert does not: so little says nothing about where an expert is.
constexpr uint64_t kPartMin = 50;

char tier_of(const Bytes& bytes) {
  const uint64_t little = bytes.sum() / kPartMin;
  if (bytes.disk > little) return bytes.device + bytes.ram > little ? 'p' : 'd';
  return bytes.ram > little ? 'r' : 'g';
}

}  // namespace

// 1. Sums bytes, and heat, per layer and expert. 2. Says them as characters, heat against the model's hottest expert.
Residency residency_of(const ResidencyInput& input) {
  const GgufModel& model = input.model;
  std::vector<Bytes> dense(model.n_layer);
  std::vector<std::vector<Bytes>> experts(model.n_layer);
  std::vector<std::vector<double>> heat(model.n_layer);
  double heat_max = 0;
  for (size_t t = 0; t < model.tensors.size(); ++t) {
    const TensorInfo& tensor = model.tensors[t];
    if (tensor.unused || tensor.layer < 0 || static_cast<uint64_t>(tensor.layer) >= model.n_layer) continue;
    const size_t layer = static_cast<size_t>(tensor.layer);
    const bool on_device = t < input.on_device.size() && input.on_device[t];
    const uint32_t first = t < input.first_extent.size() ? input.first_extent[t] : Layout::kNoExtent;
    if (tensor.slices > 1) {
      experts[layer].resize(std::max<size_t>(experts[layer].size(), tensor.slices));
      heat[layer].resize(experts[layer].size());
    }
    for (uint32_t s = 0; s < tensor.slices; ++s) {
      Bytes& sum = tensor.slices > 1 ? experts[layer][s] : dense[layer];
      const size_t extent = size_t{first} + s;
      const bool streams = first != Layout::kNoExtent;
      if (on_device) {
        sum.device += tensor.slice_bytes();
      } else if (input.held_bytes) {
        const uint64_t held = std::min(input.held_bytes(tensor, s), tensor.slice_bytes());
        sum.ram += held;
        sum.disk += tensor.slice_bytes() - held;
      } else if (!streams || (extent < input.resident.size() && input.resident[extent])) {
        sum.ram += tensor.slice_bytes();
      } else {
        sum.disk += tensor.slice_bytes();
      }
      if (tensor.slices > 1 && streams && extent < input.heat.size()) {
        heat[layer][s] += input.heat[extent];
        heat_max = std::max(heat_max, heat[layer][s]);
      }
    }
  }

  Residency residency{.n_expert = model.n_expert, .layers = {}, .page_cache = input.held_bytes != nullptr};
  for (size_t layer = 0; layer < model.n_layer; ++layer) {
    LayerResidency& out = residency.layers.emplace_back();
    out.device_bytes = dense[layer].device;
    out.ram_bytes = dense[layer].ram;
    out.disk_bytes = dense[layer].disk;
    for (const Bytes& expert : experts[layer]) out.experts += tier_of(expert);
    if (heat_max <= 0) continue;
    for (const double each : heat[layer]) out.heat += static_cast<char>('0' + std::floor(9 * each / heat_max));
  }
  return residency;
}

}  // namespace spillway
