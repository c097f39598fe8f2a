// SPDX-License-Identifier: MIT
// The addresses at which the weights are read, and what backs them.
//
// Each model file is mapped whole; memory address and file offset are congruent modulo 4096. A page of it is either
//     absent     the kernel's file mapping: slow, and right
//     resident   anonymous pages with the same bytes, moved there by mremap
// Invariant: every byte reads as the byte of the file, whoever reads it. Only its speed differs. So no pointer into the
// weights ever changes, and a tensor nobody planned for is right as well. The one moment that needs care is withdraw(),
// while which the range may not be read: pinned extents are never withdrawn, and while anything computes that holds no
// pins, nothing is (ResidencyCache::forbid_eviction).
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/status.h"
#include "os/memory.h"
#include "os/read_ring.h"
#include "store/extent.h"

namespace spillway {

struct MappedFile {
  const File* file = nullptr;  // outlives the weight space
  std::byte* base = nullptr;   // where offset 0 is mapped; nullptr: not mapped, nothing of it may be streamed
};

// Thread-safe for disjoint ranges.
class WeightSpace {
 public:
  //   Unsupported   the kernel's pages are not 4 KiB
  static Result<WeightSpace> open(std::vector<MappedFile> files);

  const MappedFile& file(uint32_t index) const { return files_.at(index); }
  std::byte* address(uint32_t file, uint64_t offset) const { return files_[file].base + offset; }

  // Moves the first `extent.pages.bytes` of `staging`, which hold the extent's bytes, over its address.
  Result<void> publish(const Extent& extent, std::byte* staging) const;

  // Takes the pages back into `staging` and shows the file again. Nobody may be reading the extent meanwhile.
  Result<void> withdraw(const Extent& extent, std::byte* staging) const;

  // Makes `ranges` (multiples of 4096, disjoint; the last may reach past the file's end by less than a page) resident
  // for good. `progress` gets the bytes done so far; false cancels.
  //   Io  Changed   a read failed twice     Cancelled     OutOfBudget   the system has no memory
  struct PinRange {
    uint32_t file = 0;
    ByteRange pages;
  };
  using Progress = std::function<bool(uint64_t bytes_done)>;
  Result<void> load_for_good(const std::vector<PinRange>& ranges, ReadRing& ring, uint32_t read_bytes,
                             const Progress& progress) const;

  // The way back, at any moment: the memory of a range that was loaded for good goes to the system, the file shows
  // through. Whoever reads meanwhile sees the same bytes, from here or from there.
  //   OutOfBudget   the system allows no more mappings; nothing changed
  Result<void> show_file(const PinRange& range) const;

 private:
  explicit WeightSpace(std::vector<MappedFile> files) : files_(std::move(files)) {}
  std::vector<MappedFile> files_;
};

// One sentence for a read that failed for good: file, offset and what the system said.
Status read_failure(const File& file, uint64_t offset, int64_t result);

}  // namespace spillway
