// SPDX-License-Identifier: MIT
// Fills memory with pieces of files: each cut into chunks that a queue reads side by side, straight to where they
// belong or into a buffer, from where a worker puts them in place. A chunk that fails or comes back short is tried
// again; after kReadTries the fill has failed, and nothing more of it is read.
//
// begin(), submit() and wait() are for one thread, the one that reads. `done` is called by that thread or by a worker,
// without a lock held. The queue, the workers, the files and the memory outlive it; destroyed, it waits for what is
// under way.
//
// `done` throws nothing: on a worker nobody could catch it. Where there is no memory for the bookkeeping begin(),
// submit() and wait() may throw. What was begun may never be done then, and all that is left is to destroy this.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/mutex.h"
#include "base/status.h"
#include "os/io_queue.h"
#include "os/memory.h"
#include "store/workers.h"

namespace spillway {

struct Piece {
  ByteRange range;                  // of the file
  std::byte* to = nullptr;          // where its first byte goes, or the form that it is put into begins
  const std::byte* from = nullptr;  // memory that holds it already as it shall be: copied, not read
  uint64_t from_bytes = 0;          // how much that is
  uint64_t part_bytes = 0;          // 0: read to `to`; else through a buffer, in parts of so many bytes
};

struct Fill {
  uint64_t tag = 0;
  const File* file = nullptr;
  uint32_t tensor = 0;  // for Place
  bool urgent = false;  // before all that are not
  std::vector<Piece> pieces = {};
};

// Puts `part` of a tensor's slice in place, from bytes as the file has them: `to` is where the slice's form begins.
using Place = std::function<void(uint32_t tensor, ByteRange part, const std::byte* from, std::byte* to)>;
// As they are.
void place_plain(uint32_t tensor, ByteRange part, const std::byte* from, std::byte* to);

class Fills {
 public:
  using Done = std::function<void(uint64_t tag, const std::optional<Status>& failure)>;
  struct Options {
    uint32_t read_bytes = 0;      // of one chunk, a multiple of 4096
    uint64_t buffer_bytes = 0;    // memory for buffers; 0: no piece has parts
    uint64_t part_bytes_max = 0;  // of any piece
    Place place = place_plain;
    // Of one read: the kernel takes no more than 2 GiB at once, and a part can be longer. A multiple of 4096.
    uint32_t one_read_bytes_max = 1u << 30;
  };

  //   OutOfBudget   the system lacks memory
  static Result<std::unique_ptr<Fills>> open(IoQueue& queue, Workers& workers, const Options& options, Done done);
  ~Fills();

  // Queues the chunks of a fill behind those of all begun before; urgent ones before the others.
  void begin(Fill fill);
  // Hands chunks to the queue until it is full.
  void submit();
  bool has_unsent() const { return !unsent_[0].empty() || !unsent_[1].empty(); }
  // Something is being read or put in place.
  bool is_busy() const EXCLUDES(mu_);
  // Blocks until at least one chunk is done. Requires is_busy().
  void wait();

 private:
  struct Progress {
    Fill fill;
    size_t next_piece = 0;
    uint64_t next_offset = 0;              // within that piece's reads
    std::atomic<uint32_t> chunks_left{0};  // not done yet, sent or not
    std::optional<Status> failure = {};    // the reading thread's
    std::list<Progress>::iterator self = {};
  };
  struct Chunk {  // one read in flight, of several where it is too long for one
    Progress* progress = nullptr;
    size_t piece = 0;
    uint64_t file_offset = 0;
    uint64_t bytes = 0;
    uint64_t bytes_needed = 0;  // the file may end before the rest
    uint64_t bytes_here = 0;    // read already
    std::byte* destination = nullptr;
    std::byte* buffer = nullptr;  // of a part
    ByteRange part = {};          // within the piece
    unsigned tries = 0;
  };

  Fills(IoQueue& queue, Workers& workers, const Options& options, Done done)
      : queue_(queue), workers_(workers), options_(options), done_(std::move(done)), chunks_(queue.depth()) {}

  uint32_t n_chunks(const Piece& piece, const File& file) const;
  bool send_next(std::deque<Progress*>& queue);
  void send_read(const Chunk& chunk);
  uint32_t next_read_bytes(const Chunk& chunk) const;
  void copy(Progress& progress, const Piece& piece);
  void complete(const ReadOutcome& outcome);
  void drop_unsent(Progress& progress);
  void finish_chunk(Progress& progress, uint32_t n = 1) EXCLUDES(mu_);
  std::byte* take_buffer() EXCLUDES(mu_);
  void give_buffer(std::byte* buffer) EXCLUDES(mu_);

  IoQueue& queue_;
  Workers& workers_;
  const Options options_;
  const Done done_;
  HugeArea buffers_;

  // The reading thread's.
  std::vector<Chunk> chunks_;  // [depth]; free_chunks_ lists the unused
  std::vector<uint32_t> free_chunks_;
  std::deque<Progress*> unsent_[2];    // [urgent first] with chunks still to send, oldest first
  std::vector<ReadOutcome> outcomes_;  // of one wait()

  mutable Mutex mu_;
  CondVar placed_;
  std::list<Progress> begun_ GUARDED_BY(mu_);  // and not done
  std::vector<std::byte*> free_buffers_ GUARDED_BY(mu_);
  uint32_t n_placing_ GUARDED_BY(mu_) = 0;
};

// One sentence for a read that failed for good: file, offset and what the system said.
Status read_failure(const File& file, uint64_t offset, int64_t result);

}  // namespace spillway
