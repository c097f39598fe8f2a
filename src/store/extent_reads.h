// SPDX-License-Identifier: MIT
// Reads of whole extents into staging, each cut into chunks that the ring takes side by side. A chunk that fails or
// comes back short is tried again; after kReadTries the extent has failed, and nothing more of it is read.
//
// Used by one thread: the one that reads. The ring, the files and every staging begun outlive it; it does not wait for
// what is in flight, the ring does.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "base/status.h"
#include "os/read_ring.h"
#include "store/extent.h"
#include "store/page_pool.h"
#include "store/weight_space.h"

namespace spillway {

class ExtentReads {
 public:
  // `read_bytes`: the size of a chunk, multiple of 4096.
  ExtentReads(const WeightSpace& space, ReadRing& ring, uint32_t read_bytes);

  struct Read {
    ExtentId id{};
    SlotId slot = SlotId::kNone;
    std::byte* staging = nullptr;   // room for the extent's bytes
    int32_t memory = -1;            // staging's number with the ring
    std::optional<Status> failure;  // once done: of its first chunk that failed for good. Io, Changed
  };

  // Queues the chunks of a read behind those of all reads begun before.
  void begin(Read read, const Extent& extent);
  // Hands chunks to the ring until it is full.
  void submit();
  bool has_unsent() const { return !unsent_.empty(); }
  bool in_flight() const { return ring_.in_flight() > 0; }

  // Blocks until at least one chunk is done, then appends the reads of which nothing is in flight any more. Requires
  // in_flight().
  void wait(std::vector<Read>& done);

 private:
  struct Progress {
    Read read;
    Extent extent;
    uint64_t next_offset = 0;  // within the extent: where the next chunk starts
    uint32_t chunks_in_flight = 0;
  };
  struct Chunk {          // one read in flight
    uint32_t read = 0;    // index into reads_
    uint64_t offset = 0;  // within the extent
    uint32_t bytes = 0;
    unsigned tries = 0;
  };

  void submit_chunk(uint32_t chunk);
  void complete(const ReadOutcome& outcome, std::vector<Read>& done);

  const WeightSpace& space_;
  ReadRing& ring_;
  const uint32_t read_bytes_;
  std::vector<Progress> reads_;  // free entries have slot kNone
  std::vector<Chunk> chunks_;    // [depth]; free_chunks_ lists the unused
  std::vector<uint32_t> free_chunks_;
  std::deque<uint32_t> unsent_;        // reads with chunks still to submit, oldest first
  std::vector<ReadOutcome> outcomes_;  // of one wait()
};

}  // namespace spillway
