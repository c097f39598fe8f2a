// SPDX-License-Identifier: MIT
// What the kernel holds of a model whose weights are left to its page cache: looked at, page by page, at some places.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "model/gguf_model.h"
#include "os/page_cache.h"

namespace spillway {

// Thread-safe.
class PageCacheSampler {
 public:
  // nullptr: the kernel does not tell us.
  static std::unique_ptr<PageCacheSampler> open(const GgufModel& model);

  // Of slice `slice` of a tensor, about.
  uint64_t slice_bytes(const TensorInfo& tensor, uint32_t slice) const;

  // Of all tensors that are not on devices.
  uint64_t bytes(const GgufModel& model, const std::vector<bool>& on_device) const;

 private:
  PageCacheSampler(std::vector<std::unique_ptr<PageCacheView>> views, uint64_t bytes)
      : views_(std::move(views)), model_bytes_(bytes) {}

  const std::vector<std::unique_ptr<PageCacheView>> views_;  // [file]
  const uint64_t model_bytes_;
};

}  // namespace spillway
