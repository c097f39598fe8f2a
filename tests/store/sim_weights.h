// SPDX-License-Identifier: MIT
// What the tests of this room share: a model file on a simulated disk, mapped for real, with its bytes known.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <bit>
#include <cstring>
#include <memory>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "../os/temp_folder.h"
#include "base/bytes.h"
#include "base/check.h"
#include "os/fd.h"
#include "os/file_sim.h"
#include "store/weight_space.h"

namespace spillway {

class SimWeights {
 public:
  SimWeights(SimDisk& disk, uint64_t file_bytes) : file_(disk.make_file(file_bytes)), content_(file_bytes) {
    CHECK(file_->read_at(0, content_).value() == file_bytes);
    void* mapped = ::mmap(nullptr, mapped_bytes(), PROT_READ, MAP_SHARED, file_->map_fd(), 0);
    CHECK(mapped != MAP_FAILED);
    base_ = static_cast<std::byte*>(mapped);
  }
  ~SimWeights() { ::munmap(base_, mapped_bytes()); }
  SimWeights(const SimWeights&) = delete;
  SimWeights& operator=(const SimWeights&) = delete;

  const File& file() const { return *file_; }
  MappedFile mapped() const { return {file_.get(), base_}; }
  uint64_t bytes() const { return content_.size(); }
  uint64_t mapped_bytes() const { return round_up(content_.size(), kPageBytes); }
  const std::byte* expected(uint64_t offset) const { return content_.data() + offset; }

  // Whether the addresses of `range` read as the file. Nobody may be evicting from it.
  bool read_as_the_file(ByteRange range) const {
    return std::memcmp(base_ + range.offset, content_.data() + range.offset, range.bytes) == 0;
  }
  bool read_as_the_file() const { return read_as_the_file({0, bytes()}); }

  // How many bits differ from the file in `range`.
  uint64_t bits_wrong(ByteRange range) const {
    uint64_t wrong = 0;
    for (uint64_t i = range.offset; i < range.end(); ++i)
      wrong += static_cast<uint64_t>(std::popcount(static_cast<unsigned>(base_[i] ^ content_[i])));
    return wrong;
  }

  // Bytes of `range` that are backed by memory of our own, not by the file's mapping.
  uint64_t anonymous_bytes(ByteRange range) const {
    uint64_t bytes = 0;
    const Fd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
    CHECK(pagemap.valid());
    for (uint64_t at = range.offset; at < range.end(); at += kPageBytes) {
      uint64_t entry = 0;
      const auto page = reinterpret_cast<uint64_t>(base_ + at) / kPageBytes;
      CHECK(::pread(pagemap.get(), &entry, sizeof entry, static_cast<off_t>(page * sizeof entry)) == sizeof entry);
      const bool present = entry >> 63 & 1, of_file = entry >> 61 & 1;
      if (present && !of_file) bytes += kPageBytes;
    }
    return bytes;
  }

 private:
  const std::unique_ptr<File> file_;
  std::vector<std::byte> content_;
  std::byte* base_ = nullptr;
};

// A thread that reads random pages of the weights while others work on them, and notes any byte that is not the file's.
// It holds no pins, so it may meet an extent that is being evicted, which reads as zeros: those it passes over, unless
// eviction is forbidden. It lets the kernel read for it: a page that is gone gives an error and does not end the
// program.
class Witness {
 public:
  enum class Eviction { kAllowed, kForbidden };

  Witness(const SimWeights& weights, Eviction eviction, uint64_t seed) : weights_(weights) {
    thread_ = std::thread([this, eviction, seed] { watch(eviction, seed); });
  }
  ~Witness() { stop(); }
  Witness(const Witness&) = delete;
  Witness& operator=(const Witness&) = delete;

  void stop() {
    stopping_ = true;
    if (thread_.joinable()) thread_.join();
  }
  uint64_t pages_seen() const { return pages_seen_; }
  uint64_t pages_wrong() const { return pages_wrong_; }

 private:
  void watch(Eviction eviction, uint64_t seed) {
    const Fd copy(::memfd_create("witness", MFD_CLOEXEC));
    CHECK(copy.valid());
    std::mt19937_64 random(seed);
    std::array<std::byte, kPageBytes> page{};
    while (!stopping_) {
      const uint64_t offset = random() % (weights_.bytes() / kPageBytes) * kPageBytes;
      // Not through the library: sanitizers look at the arguments of the calls they know.
      const long n = ::syscall(SYS_pwrite64, copy.get(), weights_.mapped().base + offset, kPageBytes, 0l);
      if (n != static_cast<long>(kPageBytes)) {
        pages_wrong_ += eviction == Eviction::kForbidden;
        continue;
      }
      CHECK(::pread(copy.get(), page.data(), kPageBytes, 0) == static_cast<ssize_t>(kPageBytes));
      const std::byte* expected = weights_.expected(offset);
      const bool is_right = std::memcmp(page.data(), expected, kPageBytes) == 0;
      pages_seen_ += is_right;
      if (is_right) continue;
      bool is_leaving = eviction == Eviction::kAllowed;
      for (uint64_t i = 0; i < kPageBytes; ++i)
        is_leaving = is_leaving && (page[i] == expected[i] || page[i] == std::byte{0});
      pages_wrong_ += !is_leaving;
    }
  }

  const SimWeights& weights_;
  std::atomic<bool> stopping_{false};
  std::atomic<uint64_t> pages_seen_{0}, pages_wrong_{0};
  std::thread thread_;
};

}  // namespace spillway
