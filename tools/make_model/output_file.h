// SPDX-License-Identifier: MIT
// A large file written once, front to back, at the disk's pace: direct I/O in big blocks, several in flight, so that
// the page cache neither limits it (buffered writes reached 0.3 GB/s on a disk that takes 1.6) nor loses what it held.
// Under PATH.partial until commit(), so PATH is whole or absent.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "make_model/error.h"

namespace spillway::make_model {

// For one thread; its writer threads are its own. Removes the .partial file when destroyed uncommitted.
class OutputFile {
 public:
  // Reserves `bytes` on the disk: one that is too small is reported now and not when it is full. 0 reserves nothing,
  // for a file with holes.
  static Expected<std::unique_ptr<OutputFile>> create(const std::string& path, uint64_t bytes);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  // Blocks while all buffers are on their way to the disk. After a failed write, returns that failure.
  Expected<void> append(std::span<const std::byte> bytes);

  // Leaves `bytes` out: they read as zeros and take no room on a file system that knows holes. The next append()
  // follows them.
  Expected<void> skip(uint64_t bytes);

  // Everything appended is on the disk, still under the .partial name, and the memory is freed. Nothing can be appended
  // afterwards.
  Expected<void> finish();

  // Gives the finished file its name, replacing what was there.
  Expected<void> commit();

  // Removes the committed file again.
  void withdraw();

 private:
  struct Buffer {
    std::byte* data = nullptr;  // page-aligned
    uint64_t bytes = 0;
    uint64_t offset = 0;
  };

  OutputFile(std::string path, int fd);
  void write_buffers();  // the writer threads
  void send_current();
  void free_buffers();
  std::string write_fully(const Buffer& buffer) const;  // empty: done; otherwise what failed

  const std::string path_;
  const int fd_;
  std::vector<Buffer> buffers_;
  Buffer* current_ = nullptr;  // being filled; null after finish()
  uint64_t appended_bytes_ = 0;
  bool is_committed_ = false;
  std::vector<std::thread> writers_;

  std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_.
  std::deque<Buffer*> free_;
  std::deque<Buffer*> full_;
  bool is_closing_ = false;
  std::string failure_;
};

}  // namespace spillway::make_model
