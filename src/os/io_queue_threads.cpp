// SPDX-License-Identifier: MIT
#include "os/io_queue_threads.h"

#include <unistd.h>

#include <cerrno>
#include <deque>
#include <system_error>
#include <thread>

#include "base/check.h"
#include "base/mutex.h"

namespace spillway {
namespace {

class ThreadQueue : public IoQueue {
 public:
  explicit ThreadQueue(unsigned depth) : depth_(depth) {
    // Where the system refuses more threads (a cgroup's pids.max), those that there are read it all.
    try {
      for (unsigned i = 0; i < depth; ++i) workers_.emplace_back([this] { work(); });
    } catch (const std::system_error&) {
      CHECK(!workers_.empty());
    }
  }
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
    ++in_flight_;
    {
      MutexLock lock(mu_);
      queue_.push_back(request);
    }
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

std::unique_ptr<IoQueue> make_thread_queue(unsigned depth) { return std::make_unique<ThreadQueue>(depth); }

}  // namespace spillway
