// SPDX-License-Identifier: MIT
#include "os/file_sim.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <deque>
#include <limits>
#include <random>
#include <utility>

#include "base/bytes.h"
#include "base/check.h"
#include "os/fd.h"

namespace spillway {

struct SimDisk::State {
  SimDiskOptions options;
  std::atomic<uint64_t> files_made{0};
  std::atomic<uint64_t> queues_opened{0};
  std::atomic<uint64_t> reads_done{0};
  std::atomic<uint64_t> bytes_read{0};
  std::atomic<uint64_t> file_bytes_max{std::numeric_limits<uint64_t>::max()};  // less after shrink_files_to()

  bool shrunk() const { return file_bytes_max != std::numeric_limits<uint64_t>::max(); }
};

namespace {

// SplitMix64 (Steele, Lea, Flood 2014): a well mixed word from any other, so that content needs no table.
uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

bool is_aligned(const ReadRequest& request, ReadAlignment alignment) {
  return request.offset % alignment.offset == 0 && request.bytes % alignment.offset == 0 && request.bytes > 0 &&
         reinterpret_cast<uint64_t>(request.destination) % alignment.memory == 0;
}

}  // namespace

class SimDisk::SimFile : public File {
 public:
  SimFile(const State& disk, uint64_t number, uint64_t bytes)
      : disk_(disk),
        path_(fmt::format("sim:/{}", number)),
        key_(mix(disk.options.seed) ^ mix(number)),
        alignment_(disk.options.alignment) {
    fd_ = Fd(::memfd_create(path_.c_str(), MFD_CLOEXEC));
    CHECK(fd_.valid());
    CHECK(::ftruncate(fd_.get(), static_cast<off_t>(bytes)) == 0);
    std::vector<uint64_t> words(MiB / sizeof(uint64_t));
    for (uint64_t offset = 0; offset < bytes; offset += MiB) {
      for (size_t i = 0; i < words.size(); ++i) words[i] = mix(key_ + offset / sizeof(uint64_t) + i);
      const uint64_t part = std::min(MiB, bytes - offset);
      CHECK(::pwrite(fd_.get(), words.data(), part, static_cast<off_t>(offset)) == static_cast<ssize_t>(part));
    }
    struct stat st {};
    CHECK(::fstat(fd_.get(), &st) == 0);
    identity_ = {.device = st.st_dev,
                 .inode = st.st_ino,
                 .bytes = bytes,
                 .modified_ns = st.st_mtim.tv_sec * 1'000'000'000ll + st.st_mtim.tv_nsec};
  }

  const std::string& path() const override { return path_; }
  const FileIdentity& identity() const override { return identity_; }
  bool is_direct() const override { return alignment_ != ReadAlignment{}; }
  ReadAlignment read_alignment() const override { return alignment_; }
  int map_fd() const override { return fd_.get(); }
  int read_fd() const override { return -1; }

  Result<uint64_t> read_at(uint64_t offset, std::span<std::byte> destination) const override {
    const int64_t n = deliver(offset, destination.data(), destination.size());
    if (n < 0)
      return error(Code::kIo, fmt::format("{}: read at {}: {}", path_, offset, std::strerror(static_cast<int>(-n))));
    return static_cast<uint64_t>(n);
  }

  Result<void> check_unchanged() const override {
    if (!disk_.shrunk()) return {};
    return error(Code::kChanged, fmt::format("{}: the file was changed while in use; load the model again", path_));
  }

  Result<void> check_in_place() const override { return {}; }

  const State& disk() const { return disk_; }

  std::byte content_at(uint64_t offset) const {
    CHECK(offset < identity_.bytes);
    const uint64_t word = mix(key_ + offset / sizeof(uint64_t));
    std::byte bytes[sizeof word];
    std::memcpy(bytes, &word, sizeof word);
    return bytes[offset % sizeof word];
  }

  // Copies what the file still has at [offset, +bytes); returns how much, or -errno.
  int64_t deliver(uint64_t offset, std::byte* destination, uint64_t bytes) const {
    const uint64_t end = std::min(identity_.bytes, disk_.file_bytes_max.load());
    const uint64_t wanted = offset < end ? std::min(bytes, end - offset) : 0;
    uint64_t done = 0;
    while (done < wanted) {
      const ssize_t n = ::pread(fd_.get(), destination + done, wanted - done, static_cast<off_t>(offset + done));
      if (n < 0) return -errno;
      CHECK(n > 0);
      done += static_cast<uint64_t>(n);
    }
    return static_cast<int64_t>(done);
  }

 private:
  const State& disk_;
  const std::string path_;
  const uint64_t key_;
  const ReadAlignment alignment_;
  Fd fd_;
  FileIdentity identity_;
};

// Delivers in wait(), on the reading thread: no thread of its own, so a seed gives the same run every time.
class SimDisk::SimQueue : public IoQueue {
 public:
  SimQueue(State& disk, uint64_t number, unsigned depth)
      : disk_(disk), depth_(depth), random_(mix(disk.options.seed + mix(number))) {
    CHECK(depth > 0);
  }
  ~SimQueue() override {
    while (!pending_.empty()) deliver_one();
  }

  const char* name() const override { return "sim"; }
  unsigned depth() const override { return depth_; }
  unsigned in_flight() const override { return static_cast<unsigned>(pending_.size()); }

  void submit(const ReadRequest& request) override {
    CHECK(pending_.size() < depth_);
    CHECK(&file_of(request).disk() == &disk_);
    CHECK(is_aligned(request, file_of(request).read_alignment()));
    pending_.push_back(request);
  }

  void wait(std::vector<ReadOutcome>& done) override {
    CHECK(!pending_.empty());
    // Now one completion, now several, as from a real queue.
    do done.push_back(deliver_one());
    while (!pending_.empty() && random_() % 2 == 0);
  }

 private:
  static const SimFile& file_of(const ReadRequest& request) {
    const auto* file = dynamic_cast<const SimFile*>(request.file);
    CHECK(file != nullptr);
    return *file;
  }

  ReadOutcome deliver_one() {
    const size_t window = std::min<size_t>(std::max(disk_.options.reorder_window, 1u), pending_.size());
    const auto drawn = pending_.begin() + static_cast<std::ptrdiff_t>(random_() % window);
    const ReadRequest request = *drawn;
    pending_.erase(drawn);
    if (disk_.options.before_read) disk_.options.before_read(request);
    return {request.tag, outcome_of(request)};
  }

  int64_t outcome_of(const ReadRequest& request) {
    const SimDiskOptions& options = disk_.options;
    const uint64_t number = ++disk_.reads_done;
    const auto nth = [number](uint64_t n) { return n > 0 && number % n == 0; };
    if (options.fail_all || nth(options.fault_every_nth)) {
      std::fill_n(request.destination, request.bytes, kSimGarbage);
      return -EIO;
    }
    const bool cut = nth(options.short_every_nth);
    const uint64_t bytes = cut ? round_down(request.bytes / 2, kPageBytes) : request.bytes;
    const int64_t n = file_of(request).deliver(request.offset, request.destination, bytes);
    if (n < 0) return n;
    if (cut) std::fill(request.destination + n, request.destination + request.bytes, kSimGarbage);
    disk_.bytes_read += static_cast<uint64_t>(n);
    return n;
  }

  State& disk_;
  const unsigned depth_;
  std::mt19937_64 random_;
  std::deque<ReadRequest> pending_;  // oldest first
};

SimDisk::SimDisk(SimDiskOptions options) : state_(std::make_unique<State>()) { state_->options = std::move(options); }
SimDisk::~SimDisk() = default;

std::unique_ptr<File> SimDisk::make_file(uint64_t bytes) {
  return std::make_unique<SimFile>(*state_, state_->files_made++, bytes);
}

std::unique_ptr<IoQueue> SimDisk::open_queue(unsigned depth) {
  return std::make_unique<SimQueue>(*state_, state_->queues_opened++, depth);
}

std::byte SimDisk::content_at(const File& file, uint64_t offset) {
  const auto* sim = dynamic_cast<const SimFile*>(&file);
  CHECK(sim != nullptr);
  return sim->content_at(offset);
}

void SimDisk::shrink_files_to(uint64_t bytes) { state_->file_bytes_max = bytes; }

SimDiskOptions& SimDisk::options() { return state_->options; }
uint64_t SimDisk::reads_done() const { return state_->reads_done; }
uint64_t SimDisk::bytes_read() const { return state_->bytes_read; }

}  // namespace spillway
