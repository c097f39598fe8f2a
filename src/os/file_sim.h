// SPDX-License-Identifier: MIT
// A seeded disk in memory with faults: an equal implementation of File and IoQueue, on which the store room is tested.
// Content lives in a memfd, so mapping it is real; reads complete out of order, short or not at all.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "os/file.h"
#include "os/io_queue.h"

namespace spillway {

struct SimDiskOptions {
  uint64_t seed = 1;
  uint64_t fault_every_nth = 0;  // this read in n fails with EIO; 0: never. The retry of a read counts as a new one
  uint64_t short_every_nth = 0;  // this read in n delivers only its first half (a multiple of 4096, or nothing)
  bool fail_all = false;         // every read fails with EIO from now on
  ReadAlignment alignment = {4096, 4096};  // of its files
  unsigned reorder_window = 8;             // completions are drawn at random from this many of the oldest reads
  // Called in the reading thread before a read's bytes are delivered: the place for a test to interleave its own moves.
  std::function<void(const ReadRequest&)> before_read = {};
};

// Reads by rings are the ones that fault; read_at() and mappings always deliver. What a faulty read did not deliver is
// overwritten with kSimGarbage, as a disk may do: who uses it anyway is found out.
inline constexpr std::byte kSimGarbage{0xDB};

// Thread-safe but for options(), which is changed while no read is in flight. Must outlive its files and rings.
class SimDisk {
 public:
  explicit SimDisk(SimDiskOptions options = {});
  ~SimDisk();

  // A file with pseudo-random content of its own (from the disk's seed and the file's number). Every request to a queue
  // must be aligned as its options said when it was made (CHECK).
  std::unique_ptr<File> make_file(uint64_t bytes);

  // Reads files of this disk only (CHECK). Its order of completion comes from the disk's seed and the queue's number.
  std::unique_ptr<IoQueue> open_queue(unsigned depth);

  // The byte that `file` holds at `offset`, whatever is cached where.
  static std::byte content_at(const File& file, uint64_t offset);

  // From now on check_unchanged() of every file reports Changed, and reads past `bytes` come back empty. Mappings keep
  // their bytes, where those of a real file would raise SIGBUS.
  void shrink_files_to(uint64_t bytes);

  SimDiskOptions& options();
  uint64_t reads_done() const;  // by rings, failed and short ones included
  uint64_t bytes_read() const;  // delivered by rings

 private:
  struct State;
  class SimFile;
  class SimQueue;
  std::unique_ptr<State> state_;
};

}  // namespace spillway
