// SPDX-License-Identifier: MIT
// Many reads in flight at once, completed in any order. Three kinds stand behind one interface: io_uring, a pool of
// threads with pread (where io_uring is refused), and the simulated disk's (os/file_sim.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/status.h"
#include "os/file.h"

namespace spillway {

struct ReadRequest {
  const File* file = nullptr;        // must outlive the read
  uint64_t offset = 0;               // in the file, multiple of 4096
  std::byte* destination = nullptr;  // multiple of 4096; must stay mapped until the read is done
  uint32_t bytes = 0;                // multiple of 4096
  uint64_t tag = 0;                  // returned with the outcome
  int32_t memory = -1;               // register_memory()'s number of the region that `destination` lies in; -1: none
};

struct ReadOutcome {
  uint64_t tag = 0;
  int64_t result = 0;  // bytes read, fewer than asked at the end of the file; or -errno
};

// Used by one thread: the one that reads.
class ReadRing {
 public:
  virtual ~ReadRing() = default;  // waits for what is in flight

  virtual const char* name() const = 0;
  virtual unsigned depth() const = 0;
  virtual unsigned in_flight() const = 0;

  // Pins the pages of a region that will be read into again and again, so that a read need not look them up (measured:
  // 0.02 CPU s/GB). They stay the region's own wherever mremap shows them meanwhile. Returns a number for ReadRequest,
  // or -1 where the ring or the system (RLIMIT_MEMLOCK) does not do that: reads work all the same. Goes before the
  // region does, the ring or the registration: pages that are unmapped while they are registered stay taken.
  virtual int32_t register_memory(std::byte* begin, uint64_t bytes) {
    (void)begin, (void)bytes;
    return -1;
  }

  // Nothing may be in flight into that region. Its number may be given out again.
  virtual void unregister_memory(int32_t memory) { (void)memory; }

  // Starts a read; at most depth() may be in flight (CHECK). May start it only at the next wait().
  virtual void submit(const ReadRequest& request) = 0;

  // Blocks until at least one read is done, then appends all that are. Requires in_flight() > 0.
  virtual void wait(std::vector<ReadOutcome>& done) = 0;
};

enum class RingKind { kBest, kUring, kThreads };

// kBest: io_uring, or threads with a notice where the kernel refuses it.
//   Unsupported   kUring was asked for by name and the kernel refuses it; the message says how to allow it
Result<std::unique_ptr<ReadRing>> open_read_ring(RingKind kind, unsigned depth);

}  // namespace spillway
