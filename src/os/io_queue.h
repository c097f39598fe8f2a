// SPDX-License-Identifier: MIT
// Many reads in flight at once, completed in any order. Three kinds stand behind one interface: io_uring, a pool of
// threads with pread (where io_uring is refused), and the simulated disk's (os/file_sim.h).
//
// Memory is not registered with io_uring: for reads into huge pages that saves 0.002 CPU s/GB of 0.013 (1 MiB, 16 in
// flight, 2 cores of an AMD EPYC, virtio, Linux 6.18; into 4 KiB pages it saved 0.02), and costs limits: 8 MiB without
// privileges, 16384 regions, 1 GiB each, and pages that stay taken after they were given back.
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
  uint64_t offset = 0;               // these three aligned as the file's read_alignment() says
  std::byte* destination = nullptr;  // must stay mapped until the read is done
  uint32_t bytes = 0;
  uint64_t tag = 0;  // returned with the outcome
};

struct ReadOutcome {
  uint64_t tag = 0;
  int64_t result = 0;  // bytes read, fewer than asked at the end of the file; or -errno
};

// Used by one thread: the one that reads.
class IoQueue {
 public:
  virtual ~IoQueue() = default;  // waits for what is in flight

  virtual const char* name() const = 0;
  virtual unsigned depth() const = 0;
  virtual unsigned in_flight() const = 0;

  // Starts a read; at most depth() may be in flight (CHECK). May start it only at the next wait().
  virtual void submit(const ReadRequest& request) = 0;

  // Blocks until at least one read is done, then appends all that are. Requires in_flight() > 0.
  virtual void wait(std::vector<ReadOutcome>& done) = 0;
};

enum class IoQueueKind { kBest, kUring, kThreads };

// kBest: io_uring, or threads with a notice where the kernel refuses it: as many as leave `n_threads_kept` that are yet
// to be made, where there is a limit.
//   Unsupported   kUring was asked for by name and the kernel refuses it; the message says how to allow it
//   Busy          the system gives no thread to read with
Result<std::unique_ptr<IoQueue>> open_io_queue(IoQueueKind kind, unsigned depth, unsigned n_threads_kept = 0);

}  // namespace spillway
