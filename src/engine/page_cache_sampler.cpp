// SPDX-License-Identifier: MIT
#include "engine/page_cache_sampler.h"

#include <algorithm>
#include <utility>

namespace spillway {
namespace {

// Of a whole model: 20,000 samples take 5 to 10 ms, and a map of it is right to a few percent.
constexpr uint64_t kPagesSampled = 20'000;

}  // namespace

std::unique_ptr<PageCacheSampler> PageCacheSampler::open(const GgufModel& model) {
  std::vector<std::unique_ptr<PageCacheView>> views;
  for (const auto& file : model.files) {
    auto view = PageCacheView::open(*file);
    if (!view) return nullptr;
    views.push_back(std::move(*view));
  }
  return std::unique_ptr<PageCacheSampler>(
      new PageCacheSampler(std::move(views), std::max<uint64_t>(model.weight_bytes(), 1)));
}

uint64_t PageCacheSampler::slice_bytes(const TensorInfo& tensor, uint32_t slice) const {
  const uint64_t bytes = tensor.slice_bytes();
  const auto samples = static_cast<uint64_t>(static_cast<double>(kPagesSampled) * static_cast<double>(bytes) /
                                             static_cast<double>(model_bytes_));
  return views_[tensor.file]->cached_bytes(tensor.range.offset + slice * bytes, bytes, std::max<uint64_t>(samples, 1));
}

uint64_t PageCacheSampler::bytes(const GgufModel& model, const std::vector<bool>& on_device) const {
  uint64_t held = 0;
  for (size_t t = 0; t < model.tensors.size(); ++t) {
    if (t < on_device.size() && on_device[t]) continue;
    for (uint32_t slice = 0; slice < model.tensors[t].slices; ++slice) held += slice_bytes(model.tensors[t], slice);
  }
  return held;
}

}  // namespace spillway
