// SPDX-License-Identifier: MIT
#include "os/io_queue_threads.h"

#include <unistd.h>

#include <cerrno>
#include <deque>
#include <exception>
#include <thread>
#include <vector>

#include "base/check.h"
#include "base/mutex.h"
#include "os/task_limit.h"

namespace spillway {
namespace {

// As many as leave those that compute theirs, where there is a limit (a cgroup's pids.max): OpenMP ends the process at
// a thread that it does not get, and fewer read as well.
unsigned n_threads_for(unsigned depth, unsigned n_kept) {
  unsigned n = depth;
  while (n > 1 && !try_threads(n + n_kept)) n /= 2;
  return n;
}

class ThreadQueue : public IoQueue {
 public:
  ThreadQueue(unsigned depth, unsigned n_threads_kept) : depth_(depth) {
    finished_.reserve(depth);  // who reads has nobody to tell that there is no memory
    const unsigned n = n_threads_for(depth, n_threads_kept);
    workers_.reserve(n);
    try {
      while (workers_.size() < n) workers_.emplace_back([this] { work(); });
    } catch (const std::exception&) {
    }
  }
  bool has_threads() const { return !workers_.empty(); }
  ~ThreadQueue() override {
    {
      MutexLock lock(mu_);
      stopping_ = true;
    }
    asked_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  const char* name() const override { return "threads"; }
  unsigned depth() const override { return depth_; }
  unsigned in_flight() const override { return in_flight_; }

  void submit(const ReadRequest& request) override {
    CHECK(in_flight_ < depth_);
    {
      MutexLock lock(mu_);
      queue_.push_back(request);
    }
    ++in_flight_;
    asked_.notify_one();
  }

  void wait(std::vector<ReadOutcome>& done) override {
    CHECK(in_flight_ > 0);
    MutexLock lock(mu_);
    while (finished_.empty()) answered_.wait(mu_);
    in_flight_ -= static_cast<unsigned>(finished_.size());
    done.insert(done.end(), finished_.begin(), finished_.end());
    finished_.clear();
  }

 private:
  // A worker: reads until told to stop, and what is queued before that.
  void work() {
    for (;;) {
      ReadRequest request;
      {
        MutexLock lock(mu_);
        while (queue_.empty() && !stopping_) asked_.wait(mu_);
        if (queue_.empty()) return;
        request = queue_.front();
        queue_.pop_front();
      }
      const int64_t result = read(request);
      {
        MutexLock lock(mu_);
        finished_.push_back({request.tag, result});
      }
      answered_.notify_one();
    }
  }

  static int64_t read(const ReadRequest& request) {
    for (;;) {
      const ssize_t n =
          ::pread(request.file->read_fd(), request.destination, request.bytes, static_cast<off_t>(request.offset));
      if (n >= 0) return n;
      if (errno != EINTR) return -errno;
    }
  }

  const unsigned depth_;
  unsigned in_flight_ = 0;  // the reading thread's
  Mutex mu_;
  CondVar asked_, answered_;
  std::deque<ReadRequest> queue_ GUARDED_BY(mu_);  // at most depth_
  std::vector<ReadOutcome> finished_ GUARDED_BY(mu_);
  bool stopping_ GUARDED_BY(mu_) = false;
  std::vector<std::thread> workers_;
};

}  // namespace

Result<std::unique_ptr<IoQueue>> make_thread_queue(unsigned depth, unsigned n_threads_kept) {
  auto queue = std::make_unique<ThreadQueue>(depth, n_threads_kept);
  if (!queue->has_threads())
    return error(Code::kBusy,
                 "the system gives no thread to read with (is there a limit, such as ulimit -u, or a "
                 "container's?)");
  return queue;
}

}  // namespace spillway
