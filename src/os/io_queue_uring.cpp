// SPDX-License-Identifier: MIT
#include <fmt/format.h>
#include <liburing.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "base/notice.h"
#include "os/io_queue.h"
#include "os/io_queue_threads.h"

namespace spillway {
namespace {

// More reads handed over at once than two are plugged by the kernel, which merges those of neighbouring places: of
// eight reads of 1 MiB two of 4 MiB are left, the disk does two things at a time instead of eight, and both end at
// once. A dense model streamed MEASURE GB/s so, of 3.5, and MEASURE without.
constexpr unsigned kReadsTogether = 2;

class UringQueue : public IoQueue {
 public:
  // The queue, or -errno. Its descriptor is not registered (io_uring_register_ring_fd): the kernel keeps that by
  // thread, and the thread that reads need not be the one that opened the queue.
  static tl::expected<std::unique_ptr<IoQueue>, int> open(unsigned depth) {
    std::unique_ptr<UringQueue> queue(new UringQueue(depth));
    const int result = io_uring_queue_init(depth, &queue->queue_, 0);
    if (result < 0) return tl::unexpected<int>(result);
    queue->open_ = true;
    if (const int refused = queue->try_out(); refused < 0) return tl::unexpected<int>(refused);
    return queue;
  }
  ~UringQueue() override {
    std::vector<ReadOutcome> ignored;
    while (in_flight_ > 0) wait(ignored);
    if (open_) io_uring_queue_exit(&queue_);
  }

  const char* name() const override { return "io_uring"; }
  unsigned depth() const override { return depth_; }
  unsigned in_flight() const override { return in_flight_; }

  void submit(const ReadRequest& request) override {
    CHECK(in_flight_ < depth_);
    const unsigned index = free_indexes_.back();
    free_indexes_.pop_back();
    requests_[index] = request;
    queue(index);
    ++in_flight_;
    // What it does not take goes with the next call.
    if (io_uring_sq_ready(&queue_) >= kReadsTogether) io_uring_submit(&queue_);
  }

  void wait(std::vector<ReadOutcome>& done) override {
    CHECK(in_flight_ > 0);
    // A signal ends the call early, and a kernel short of memory takes only some of the reads and does not wait: go on
    // until something is done. What was not taken stays queued, and the next call hands it over.
    const unsigned asked = in_flight_;
    while (in_flight_ == asked) {
      const int result = io_uring_submit_and_wait(&queue_, 1);
      const bool is_short = result == -EAGAIN || result == -EBUSY || result == -ENOMEM;
      CHECK(result >= 0 || result == -EINTR || is_short);
      io_uring_cqe* entry = nullptr;
      while (io_uring_peek_cqe(&queue_, &entry) == 0) {
        const auto index = static_cast<unsigned>(io_uring_cqe_get_data64(entry));
        const int read = entry->res;
        io_uring_cqe_seen(&queue_, entry);
        if (was_given_up(read)) {
          queue(index);
          continue;
        }
        done.push_back({requests_[index].tag, read});
        free_indexes_.push_back(index);
        --in_flight_;
      }
    }
  }

 private:
  // A sandbox may let a queue be made and then refuse its use. 0, or -errno.
  int try_out() {
    io_uring_sqe* entry = io_uring_get_sqe(&queue_);
    if (entry == nullptr) return -ENOMEM;
    io_uring_prep_nop(entry);
    int result = 0;
    while ((result = io_uring_submit_and_wait(&queue_, 1)) == -EINTR || result == -EAGAIN) {
    }
    if (result < 0) return result;
    io_uring_cqe* done = nullptr;
    if (io_uring_peek_cqe(&queue_, &done) != 0) return -EIO;
    io_uring_cqe_seen(&queue_, done);
    return 0;
  }

  explicit UringQueue(unsigned depth) : depth_(depth), requests_(depth) {
    for (unsigned index = 0; index < depth; ++index) free_indexes_.push_back(index);
  }

  void queue(unsigned index) {
    const ReadRequest& request = requests_[index];
    io_uring_sqe* entry = io_uring_get_sqe(&queue_);
    CHECK(entry != nullptr);
    io_uring_prep_read(entry, request.file->read_fd(), request.destination, request.bytes, request.offset);
    io_uring_sqe_set_data64(entry, index);
  }

  // The kernel did not try: a signal came while it started a worker for a read that has to wait (ECANCELED, seen
  // on 6.18 for 1 read in 40000 in a storm of signals), or memory was short. No fault of the disk.
  static bool was_given_up(int result) { return result == -ECANCELED || result == -EINTR || result == -EAGAIN; }

  const unsigned depth_;
  io_uring queue_{};
  bool open_ = false;
  unsigned in_flight_ = 0;
  std::vector<ReadRequest> requests_;  // by index, which is what the kernel hands back
  std::vector<unsigned> free_indexes_;
};

}  // namespace

Result<std::unique_ptr<IoQueue>> open_io_queue(IoQueueKind kind, unsigned depth, unsigned n_threads_kept) {
  CHECK(depth > 0);
  if (kind == IoQueueKind::kThreads) return make_thread_queue(depth, n_threads_kept);
  auto queue = UringQueue::open(depth);
  if (queue) return std::move(*queue);
  const std::string reason = fmt::format(
      "io_uring: {} (blocked? see sysctl kernel.io_uring_disabled, or the "
      "container's seccomp profile)",
      std::strerror(-queue.error()));
  if (kind == IoQueueKind::kUring) return error(Code::kUnsupported, reason);
  notice(reason + "; reading with a pool of threads");
  return make_thread_queue(depth, n_threads_kept);
}

}  // namespace spillway
