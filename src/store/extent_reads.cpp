// SPDX-License-Identifier: MIT
#include "store/extent_reads.h"

#include <algorithm>
#include <utility>

#include "store/tuning.h"

namespace spillway {

ExtentReads::ExtentReads(const WeightSpace& space, ReadRing& ring, uint32_t read_bytes)
    : space_(space), ring_(ring), read_bytes_(read_bytes), chunks_(ring.depth()) {
  for (uint32_t i = 0; i < chunks_.size(); ++i) free_chunks_.push_back(i);
}

void ExtentReads::begin(Read read, const Extent& extent) {
  const auto free = std::find_if(reads_.begin(), reads_.end(),
                                 [](const Progress& progress) { return progress.read.slot == SlotId::kNone; });
  const auto index = static_cast<uint32_t>(free - reads_.begin());
  if (free == reads_.end()) reads_.emplace_back();
  reads_[index] = {.read = std::move(read), .extent = extent};
  unsent_.push_back(index);
}

void ExtentReads::submit() {
  while (!unsent_.empty() && !free_chunks_.empty()) {
    Progress& progress = reads_[unsent_.front()];
    const uint64_t bytes_left = progress.extent.pages.bytes - progress.next_offset;
    const uint32_t index = free_chunks_.back();
    free_chunks_.pop_back();
    chunks_[index] = {.read = unsent_.front(),
                      .offset = progress.next_offset,
                      .bytes = static_cast<uint32_t>(std::min<uint64_t>(read_bytes_, bytes_left))};
    progress.next_offset += chunks_[index].bytes;
    ++progress.chunks_in_flight;
    if (chunks_[index].bytes == bytes_left) unsent_.pop_front();
    submit_chunk(index);
  }
}

void ExtentReads::submit_chunk(uint32_t chunk) {
  Chunk& c = chunks_[chunk];
  const auto& [read, extent, next_offset, chunks_in_flight] = reads_[c.read];
  ++c.tries;
  ring_.submit({space_.file(extent.file).file, extent.pages.offset + c.offset, read.staging + c.offset, c.bytes, chunk,
                read.memory});
}

void ExtentReads::wait(std::vector<Read>& done) {
  outcomes_.clear();
  ring_.wait(outcomes_);
  for (const ReadOutcome& outcome : outcomes_) complete(outcome, done);
}

void ExtentReads::complete(const ReadOutcome& outcome, std::vector<Read>& done) {
  const auto index = static_cast<uint32_t>(outcome.tag);
  const Chunk chunk = chunks_[index];
  Progress& progress = reads_[chunk.read];
  const bool whole = outcome.result == static_cast<int64_t>(chunk.bytes);
  if (!whole && !progress.read.failure && chunk.tries < kReadTries) return submit_chunk(index);
  free_chunks_.push_back(index);
  --progress.chunks_in_flight;
  const ByteRange pages = progress.extent.pages;
  if (!whole && !progress.read.failure) {
    // Nothing more of it is worth reading; what is in flight must still land before the slot can be used again.
    if (progress.next_offset < pages.bytes) std::erase(unsent_, chunk.read);
    progress.next_offset = pages.bytes;
    progress.read.failure =
        read_failure(*space_.file(progress.extent.file).file, pages.offset + chunk.offset, outcome.result);
  }
  if (progress.chunks_in_flight > 0 || progress.next_offset < pages.bytes) return;
  done.push_back(std::exchange(progress.read, {}));
}

}  // namespace spillway
