// SPDX-License-Identifier: MIT
// What the tests of this room share: a model file on a simulated disk, laid out within a budget.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "../os/temp_folder.h"
#include "base/bytes.h"
#include "base/check.h"
#include "ids.h"
#include "layout/layout.h"
#include "os/file_sim.h"
#include "store/fills.h"

namespace spillway {

// `n` tensors of so many bytes, each of `slices` slices.
struct Tensors {
  uint32_t n;
  uint64_t bytes;
  uint32_t slices = 1;
};

// A file with the tensors back to back behind a header, some bytes between any two.
class SimModel {
 public:
  SimModel(SimDisk& disk, const std::vector<Tensors>& groups, uint64_t gap_bytes = 32) {
    uint64_t at = 4000;
    for (const Tensors& group : groups)
      for (uint32_t i = 0; i < group.n; ++i) {
        tensors_.push_back({.name = "t" + std::to_string(tensors_.size()),
                            .type = "q8_0",
                            .range = {at, group.bytes},
                            .layer = static_cast<int>(i),
                            .role = group.slices > 1 ? TensorRole::kExperts : TensorRole::kFfn,
                            .slices = group.slices});
        at += group.bytes + gap_bytes;
      }
    file_ = disk.make_file(at - gap_bytes);
    content_.resize(file_->size_bytes());
    CHECK(file_->read_at(0, content_).value() == content_.size());
  }

  const File& file() const { return *file_; }
  std::vector<const File*> files() const { return {file_.get()}; }
  const std::vector<TensorInfo>& tensors() const { return tensors_; }

  LayoutRequest request(uint64_t budget_bytes, std::vector<WeightShape> shapes = {}) const {
    const ReadAlignment alignment = file_->read_alignment();
    return {.tensors = &tensors_,
            .shapes = std::move(shapes),
            .alignment = {alignment.offset, alignment.memory},
            .n_expert_used = 2,
            .extent_bytes_min = kPageBytes,
            .weights_budget_bytes = budget_bytes};
  }

  // Whether memory holds what the file has in `range`.
  bool is_at(ByteRange range, const std::byte* memory) const {
    return std::memcmp(memory, content_.data() + range.offset, range.bytes) == 0;
  }
  const std::byte* content(uint64_t offset) const { return content_.data() + offset; }

 private:
  std::vector<TensorInfo> tensors_;
  std::unique_ptr<File> file_;
  std::vector<std::byte> content_;
};

// As a repacking would: each unit of 64 bytes backwards. Parts must be of whole units.
inline void place_backwards(uint32_t, ByteRange part, const std::byte* from, std::byte* to) {
  CHECK(part.offset % 64 == 0 && part.bytes % 64 == 0);
  for (uint64_t unit = 0; unit < part.bytes; unit += 64)
    for (uint64_t i = 0; i < 64; ++i) to[part.offset + unit + i] = from[unit + 63 - i];
}
inline bool is_backwards(const SimModel& model, ByteRange range, const std::byte* memory) {
  std::vector<std::byte> expected(range.bytes);
  place_backwards(0, {0, range.bytes}, model.content(range.offset), expected.data());
  return std::memcmp(memory, expected.data(), range.bytes) == 0;
}
inline WeightShape backwards_shape(const TensorInfo& tensor) {
  return {.form = Form::kRepacked, .slot_bytes = tensor.slice_bytes(), .part_unit_bytes = 64};
}

// Holds the disk's first read until told to go on, and lists the reads in the order in which they began.
class HeldDisk {
 public:
  SimDiskOptions options() {
    return {.reorder_window = 1, .before_read = [this](const ReadRequest& request) { on_read(request); }};
  }
  void wait_until_held() {
    std::unique_lock lock(mu_);
    changed_.wait(lock, [this] { return holding_; });
  }
  void go_on() {
    const std::lock_guard lock(mu_);
    released_ = true;
    changed_.notify_all();
  }
  std::vector<uint64_t> offsets() {
    const std::lock_guard lock(mu_);
    return offsets_;
  }

 private:
  void on_read(const ReadRequest& request) {
    std::unique_lock lock(mu_);
    offsets_.push_back(request.offset);
    holding_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return released_; });
  }

  std::mutex mu_;
  std::condition_variable changed_;
  bool holding_ = false, released_ = false;
  std::vector<uint64_t> offsets_;
};

inline constexpr std::chrono::seconds kSoon{20};  // only a failure takes that long
inline constexpr std::chrono::milliseconds kNow{0};

}  // namespace spillway
