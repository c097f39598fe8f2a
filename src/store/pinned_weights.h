// SPDX-License-Identifier: MIT
// Weights that stay in memory: read once, given back when others press, from the last on, and read again.
//
// Threads: one computes, data() and the stretches are its own; one other may load, give back and load again. Neither
// waits for the other. What is given back turns away first, so that no stretch of computing that begins afterwards
// finds it, and its memory goes when no stretch that began before is under way.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/status.h"
#include "layout/layout.h"
#include "os/memory.h"
#include "store/fills.h"

namespace spillway {

class PinnedWeights {
 public:
  struct Source {
    std::vector<const File*> files;  // as GgufModel::files; outlive it
    uint32_t read_bytes = 0;
    Place place = place_plain;
  };

  // Memory for a layout's pinned weights, nothing of it read yet. The layout outlives it.
  //   OutOfBudget   the system has none
  static Result<std::unique_ptr<PinnedWeights>> open(const Layout& layout, const std::vector<TensorInfo>& tensors,
                                                     Source source);

  // Reads the next ones, about `bytes` of them and at least one; nothing when all are there. `progress` gets the bytes
  // of this call that are done; false cancels.
  //   Io  Changed   a read failed twice     Cancelled     OutOfBudget   the system has no memory
  using Progress = std::function<bool(uint64_t bytes_done)>;
  Result<void> load(uint64_t bytes, IoQueue& queue, Workers& workers, const Progress& progress);
  bool is_loaded() const { return n_loaded_ == layout_.pinned.size(); }  // any thread

  // Where a tensor's first byte is; nullptr: not here (now).
  std::byte* data(uint32_t tensor) const;
  // Whether a tensor that is here may be given back.
  bool can_go(uint32_t tensor) const;

  // Around what computes with data().
  void begin_stretch() { stretch_.fetch_add(1); }
  void end_stretch() { stretch_.fetch_add(1); }
  bool in_stretch() const { return stretch_.load(std::memory_order_relaxed) % 2 == 1; }  // for who computes

  // Turns away the last ones of those that can go, until what stays is `bytes` or less; frees what nobody uses any
  // more. To be called again until bytes_held() is down.
  void give_back(uint64_t bytes);
  // Something that was turned away still has its memory; frees that where nobody uses it any more.
  bool is_over() const { return bytes_held_ > kept_bytes(); }
  void free_what_is_over();
  // Memory taken, what is about to go included.
  uint64_t bytes_held() const { return bytes_held_; }
  // The least that give_back() can come down to, and the same with the next one loaded again.
  uint64_t bytes_min() const { return bytes_min_; }
  uint64_t bytes_with_next() const;

  // Flips a bit of a tensor that lies here, for tests of the tests.
  void corrupt(uint32_t tensor);

 private:
  PinnedWeights(const Layout& layout, const std::vector<TensorInfo>& tensors, Source source);
  Fill fill_of(const PinnedWeight& weight) const;
  uint64_t kept_bytes() const;

  const Layout& layout_;
  const std::vector<TensorInfo>& tensors_;
  const Source source_;
  std::vector<uint32_t> index_of_;  // [n_tensor] into layout_.pinned
  uint64_t bytes_min_ = 0;

  HugeArea area_;
  std::unique_ptr<std::atomic<bool>[]> is_here_;  // [pinned]
  std::atomic<uint64_t> stretch_{0};              // odd: one is under way
  std::atomic<uint64_t> bytes_held_{0};

  // Of the thread that loads and gives back.
  std::atomic<size_t> n_loaded_{0};  // the first ones
  uint64_t filled_bytes_ = 0;        // of the area: what was read and has its memory still
  uint64_t turned_away_in_ = 0;      // the stretch that may still use what was turned away
};

}  // namespace spillway
