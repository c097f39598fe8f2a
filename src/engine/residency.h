// SPDX-License-Identifier: MIT
// Where a loaded model's weights are at this moment, layer by layer and expert by expert. For people to look at:
// nothing is decided by it.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "model/gguf_model.h"

namespace spillway {

struct LayerResidency {
  // Of all that is not an expert's slice.
  uint64_t device_bytes = 0, ram_bytes = 0, disk_bytes = 0;
  // [n_expert], empty for a dense layer: 'g' on a device, 'r' in RAM (or partly there and partly on a device), 'p' some
  // of it in memory, 'd' none.
  std::string experts;
  // [n_expert] digits: use counts, the model's most used expert has '9'. Empty where nobody counts.
  std::string heat;
};

struct Residency {
  uint64_t n_expert = 0;
  std::vector<LayerResidency> layers;  // [n_layer]; none where it is left to the kernel, which does not tell
  bool page_cache = false;             // left to the kernel's page cache: what that holds, about
};

// What an engine knows. `first_extent` as in Layout, `resident` and `heat` by extent; empty when nothing streams.
struct ResidencyInput {
  const GgufModel& model;
  const std::vector<bool>& on_device;  // [n_tensor]
  std::span<const uint32_t> first_extent;
  const std::vector<bool>& resident;
  std::span<const double> heat;
  // Of a slice: how much is in memory, where that is for the kernel to know; null elsewhere.
  std::function<uint64_t(const TensorInfo& tensor, uint32_t slice)> held_bytes{};
};

Residency residency_of(const ResidencyInput& input);

}  // namespace spillway
