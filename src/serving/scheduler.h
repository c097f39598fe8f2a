// SPDX-License-Identifier: MIT
// Serves many requests with one engine: each gets a sequence of the engine's context (what clients call a slot), and
// every pass computes for all sequences together, so that one reading of the weights serves all of them. New requests
// join between two passes.
//
// A sequence keeps what was computed for it: a request that begins with the same tokens starts behind them, wherever
// they are: in its own sequence, in another one, or in the prompt cache.
//
// Threads: every method may be called from any thread. The scheduler has one thread of its own, the decode thread, and
// from its start to its end nobody else may use the engine (but for what engine.h says any thread may call).
// Lifetime: engine and prompt cache outlive it. A ticket may outlive both.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <future>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/status.h"
#include "engine/engine.h"
#include "serving/asker.h"
#include "serving/fair_queue.h"
#include "serving/pass_plan.h"
#include "serving/pass_times.h"
#include "serving/prefix_reuse.h"
#include "serving/prompt_cache.h"
#include "serving/sequence_answer.h"
#include "serving/served_sequence.h"
#include "serving/ticket.h"

namespace spillway {

struct SchedulerOptions {
  uint32_t n_sequences = 1;  // at most the engine's n_seq_max
  size_t queue_max = 512;
  PromptCache* prompt_cache = nullptr;  // may be null
  // So long another context size waits for the answers under way to end, and what is new waits behind it. Then they are
  // interrupted between two tokens and go on in the new context.
  double resize_patience_s = 10;
};

struct SequenceState {
  uint32_t id = 0;
  bool busy = false;
  Phase phase = Phase::kDone;
  size_t context_tokens = 0, prompt_tokens = 0, answer_tokens = 0;
};

struct SchedulerStats {
  std::vector<SequenceState> sequences;
  size_t queued = 0;
  size_t works = 0;  // pieces of other work that wait for the decode thread
  bool draining = false;
  bool resizing = false;  // another context size is waited for, and new requests wait behind it
  // Since the start.
  uint64_t requests = 0, finished = 0, failed = 0, cancelled = 0, refused = 0;
  uint64_t prompt_tokens = 0, cached_tokens = 0, answer_tokens = 0;
  uint64_t passes = 0, sequences_in_passes = 0;
  double pass_s = 0;    // in decode()
  double prompt_s = 0;  // of that, passes with prompt tokens in them
  PromptCacheStats cache;
  EngineStats engine;  // as of the last pass
};

class Scheduler {
 public:
  static std::unique_ptr<Scheduler> start(Engine& engine, SchedulerOptions options);

  // Ends what runs and what waits (outcome: Busy), and joins the decode thread.
  ~Scheduler();

  //   Busy              the queue is full, or the scheduler drains
  //   ContextOverflow   the prompt has more tokens than a sequence has context
  //   InvalidArgument   no prompt, or too many logit biases
  //   Unsupported       the model makes no text
  Result<std::shared_ptr<Ticket>> submit(GenerateRequest request) EXCLUDES(mutex_);

  // Ends a request: at once where it is in the queue; a pass that computes for nobody else who still waits is broken
  // off.
  void cancel(Ticket& ticket) EXCLUDES(mutex_);

  // Ends all requests (outcome: Busy), and takes no new ones.
  void cancel_all() EXCLUDES(mutex_);

  // Runs `work` on the decode thread between two passes, and returns what it returns. Not from the decode thread. Of
  // several, one runs between two passes: clients take turns, and each has its own in the order in which they came.
  //   Cancelled   the scheduler ended first, or the work is not wanted any more
  Result<void> run(std::function<Result<void>(Engine&)> work, const Asker& asker = {}) EXCLUDES(mutex_);

  // No new requests; returns when all that were taken are done, false after `patience`.
  bool drain(std::chrono::milliseconds patience) EXCLUDES(mutex_);

  // Writes what the sequences hold to the prompt cache's disk, where that pays. Waits for it.
  void save_sequences() EXCLUDES(mutex_);

  // For a request with a context size of its own: all sequences are emptied. Answers under way go on in the new
  // context: what they hold comes back from the prompt cache's memory, or is computed again.
  //   errors of Engine::resize_context; after Unavailable all requests fail      Cancelled
  Result<void> resize_context(uint32_t n_ctx) EXCLUDES(mutex_);

  // Tokens of context that each sequence has now.
  uint32_t n_ctx() const { return n_ctx_; }

  SchedulerStats stats() const EXCLUDES(mutex_);
  bool idle() const EXCLUDES(mutex_);  // nothing runs, nothing waits

 private:
  using JobPtr = std::unique_ptr<ServingJob>;
  struct Work {
    std::function<Result<void>(Engine&)> function;
    std::promise<Result<void>> done;
    Stopwatch since_asked;
    uint64_t number = 0;
  };

  Scheduler(Engine& engine, SchedulerOptions options);

  // The decode thread.
  void turn() EXCLUDES(mutex_);
  void break_off(const char* why) EXCLUDES(mutex_);
  void loop() EXCLUDES(mutex_);
  bool wait_for_work() EXCLUDES(mutex_);
  void run_next_work() EXCLUDES(mutex_);
  Result<void> resize_now(uint32_t n_ctx);
  void drop_cancelled() EXCLUDES(mutex_);
  void admit_waiting() EXCLUDES(mutex_);
  bool is_resize_due_locked() const REQUIRES(mutex_);
  void begin(ServedSequence& sequence, JobPtr job);
  std::vector<PassPart> compose();
  void pass(const std::vector<PassPart>& parts);
  bool enter_pass(const std::vector<PassPart>& parts) EXCLUDES(mutex_);
  void leave_pass() EXCLUDES(mutex_);
  bool nobody_wants_pass_locked() const REQUIRES(mutex_);
  void pass_failed(const std::vector<PassPart>& parts, const Status& status);
  size_t prompt_room() const;
  void advance(ServedSequence& sequence, int32_t output);
  void finish(ServedSequence& sequence, FinishReason reason);
  void fail(ServedSequence& sequence, Status status);
  void release(ServedSequence& sequence);
  void store_when_idle(const ServedSequence& sequence) EXCLUDES(mutex_);
  bool any_busy() const;
  void fail_job(ServingJob& job, Status status);
  static void publish_failure(ServingJob& job, Status status);
  void publish_stats() EXCLUDES(mutex_);

  Engine& engine_;
  const SchedulerOptions options_;

  // The decode thread's own.
  ServedSequences sequences_;
  PrefixReuse reuse_;
  SequenceAnswer answer_;
  SchedulerStats own_stats_;
  uint64_t clock_ = 0;  // of the use of sequences
  PassTurn turn_;
  PassTimes times_;

  std::atomic<uint32_t> n_ctx_;  // the engine's, which is the decode thread's; written by that alone

  mutable Mutex mutex_;
  CondVar changed_;
  FairQueue<JobPtr> queue_ GUARDED_BY(mutex_);
  // As many as there are threads that wait for them. Resizes wait until nobody is busy, or their patience ends.
  FairQueue<Work> work_ GUARDED_BY(mutex_){SIZE_MAX};
  std::list<Work> resizes_ GUARDED_BY(mutex_);
  SchedulerStats stats_ GUARDED_BY(mutex_);
  size_t n_busy_ GUARDED_BY(mutex_) = 0;
  // Of the requests that the pass under way computes for; empty between two.
  std::vector<std::shared_ptr<Ticket>> in_pass_ GUARDED_BY(mutex_);
  bool draining_ GUARDED_BY(mutex_) = false;
  bool stopping_ GUARDED_BY(mutex_) = false;
  bool cancel_all_ GUARDED_BY(mutex_) = false;
  uint64_t n_works_ GUARDED_BY(mutex_) = 0, running_work_ GUARDED_BY(mutex_) = 0;  // 0: none
  uint64_t refused_ GUARDED_BY(mutex_) = 0;
  uint64_t left_queue_ GUARDED_BY(mutex_) = 0;  // cancelled there, before the decode thread saw them

  std::thread thread_;  // last: it uses all of the above
};

}  // namespace spillway
