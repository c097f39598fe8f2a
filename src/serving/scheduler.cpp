// SPDX-License-Identifier: MIT
#include "serving/scheduler.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "base/check.h"
#include "base/clock.h"
#include "base/notice.h"
#include "engine/prompt_parts.h"
#include "os/machine.h"

namespace spillway {
namespace {

constexpr size_t kLogitBiasesMax = 10'000;

Status client_left() { return {Code::kCancelled, "the client went away"}; }
// Who was served did not leave, and may ask again.
Status server_stops() { return {Code::kBusy, "the server is shutting down"}; }

}  // namespace

std::unique_ptr<Scheduler> Scheduler::start(Engine& engine, SchedulerOptions options) {
  return std::unique_ptr<Scheduler>(new Scheduler(engine, options));
}

Scheduler::Scheduler(Engine& engine, SchedulerOptions options)
    : engine_(engine),
      options_(options),
      reuse_(engine, sequences_, options.prompt_cache),
      answer_(engine),
      n_ctx_(engine.model().n_ctx),
      queue_(options.queue_max) {
  for (uint32_t i = 0; i < std::max(options_.n_sequences, 1u); ++i) {
    sequences_.push_back(std::make_unique<ServedSequence>());
    sequences_.back()->seq = static_cast<int32_t>(i);
  }
  publish_stats();
  thread_ = std::thread([this] {
    name_thread("decode");
    loop();
  });
}

Scheduler::~Scheduler() {
  {
    const MutexLock lock(mutex_);
    stopping_ = draining_ = true;
    changed_.notify_all();
  }
  engine_.abort();
  thread_.join();
}

// ---- from any thread

Result<std::shared_ptr<Ticket>> Scheduler::submit(GenerateRequest request) {
  const ModelInfo& model = engine_.model();
  if (!model.has_decoder || model.has_encoder)
    return error(Code::kUnsupported, "this model does not answer prompts token by token");
  if (request.prompt.empty()) return error(Code::kInvalidArgument, "the prompt is empty");
  const size_t n_ctx_all = n_ctx();
  if (const size_t room = request.n_ctx > 0 ? std::min(request.n_ctx, n_ctx_all) : n_ctx_all;
      request.prompt.size() + surplus_tokens(request.prompt, request.images) > room)
    return error(Code::kContextOverflow,
                 fmt::format("request ({} tokens) exceeds the available context size ({} tokens), try increasing it",
                             request.prompt.size() + surplus_tokens(request.prompt, request.images), room));
  if (!images_are_whole(request.prompt, request.images))
    return error(Code::kInvalidArgument, "a token id below 0 stands for no text");
  if (is_image_place(request.prompt.back()))
    return error(Code::kInvalidArgument, "the prompt ends with an image: text has to follow it");
  for (const TokenId id : request.prompt)
    if (id >= model.n_vocab)
      return error(Code::kInvalidArgument,
                   fmt::format("token id {} is outside the vocabulary of {} tokens", id, model.n_vocab));
  if (const size_t n = request.sampling.logit_bias.size(); n > kLogitBiasesMax)
    return error(Code::kInvalidArgument,
                 fmt::format("logit_bias: {} tokens; {} are the most in one request", n, kLogitBiasesMax));
  auto job = std::make_unique<ServingJob>();
  auto ticket = std::make_shared<Ticket>();
  job->ticket = ticket;
  job->request = std::move(request);
  const std::string client = job->request.client;
  {
    const MutexLock lock(mutex_);
    if (draining_) {
      ++refused_;
      return error(Code::kBusy, "the server is shutting down, or unloading this model");
    }
    if (!queue_.push(client, std::move(job))) {
      ++refused_;
      return error(Code::kBusy, "server busy, please try again.  maximum pending requests exceeded");
    }
    changed_.notify_all();
  }
  return ticket;
}

void Scheduler::cancel(Ticket& ticket) {
  ticket.cancel();
  JobPtr waiting;
  {
    const MutexLock lock(mutex_);
    queue_.remove_if([&](const JobPtr& job) { return job->ticket.get() == &ticket; },
                     [&](JobPtr job) { waiting = std::move(job); });
    if (waiting != nullptr) {
      ++left_queue_;
      changed_.notify_all();
    }
    if (!in_pass_.empty() && nobody_wants_pass_locked()) engine_.abort();
  }
  if (waiting != nullptr) publish_failure(*waiting, client_left());
}

void Scheduler::cancel_all() {
  const MutexLock lock(mutex_);
  draining_ = cancel_all_ = true;
  engine_.abort();
  changed_.notify_all();
}

Result<void> Scheduler::run(std::function<Result<void>(Engine&)> work, const Asker& asker) {
  constexpr std::chrono::milliseconds kPatience{100};
  std::future<Result<void>> done;
  uint64_t number = 0;
  {
    const MutexLock lock(mutex_);
    if (stopping_) return error(Code::kCancelled, "the model is being unloaded");
    Work item;
    item.function = std::move(work);
    item.number = number = ++n_works_;
    done = item.done.get_future();
    CHECK(work_.push(asker.client, std::move(item)));
    changed_.notify_all();
  }
  while (asker.is_waiting && done.wait_for(kPatience) != std::future_status::ready) {
    if (asker.is_waiting()) continue;
    const MutexLock lock(mutex_);
    const size_t n_before = work_.size();
    work_.remove_if([&](const Work& item) { return item.number == number; }, [](Work) {});
    if (work_.size() < n_before) return error(Code::kCancelled, "nobody waits for it any more");
    // Again and again: a pass that is about to begin forgets that it was told.
    if (running_work_ == number) engine_.abort();
  }
  return done.get();
}

Result<void> Scheduler::resize_context(uint32_t n_ctx) {
  std::future<Result<void>> done;
  {
    const MutexLock lock(mutex_);
    if (stopping_) return error(Code::kCancelled, "the model is being unloaded");
    Work item;
    item.function = [this, n_ctx](Engine&) { return resize_now(n_ctx); };
    done = item.done.get_future();
    resizes_.push_back(std::move(item));
    changed_.notify_all();
  }
  return done.get();
}

void Scheduler::save_sequences() {
  (void)run([this](Engine&) -> Result<void> {
    for (const auto& sequence : sequences_)
      if (!sequence->busy()) reuse_.store(*sequence);
    return {};
  });
}

bool Scheduler::drain(std::chrono::milliseconds patience) {
  const MutexLock lock(mutex_);
  draining_ = true;
  return changed_.wait_for(mutex_, patience, [this]() REQUIRES(mutex_) { return n_busy_ == 0 && queue_.empty(); });
}

SchedulerStats Scheduler::stats() const {
  const MutexLock lock(mutex_);
  SchedulerStats stats = stats_;
  stats.queued = queue_.size();
  stats.draining = draining_;
  stats.works = work_.size();
  stats.resizing = !resizes_.empty();
  stats.refused = refused_;
  stats.cancelled += left_queue_;
  return stats;
}

bool Scheduler::idle() const {
  const MutexLock lock(mutex_);
  return n_busy_ == 0 && queue_.empty();
}

// ---- the decode thread

void Scheduler::loop() {
  while (wait_for_work()) {
    try {
      turn();
    } catch (const std::exception& e) {
      break_off(e.what());
    } catch (...) {
      break_off("unknown");
    }
  }
  // The end: requests that still wait are told so.
  for (const auto& sequence : sequences_)
    if (sequence->busy()) fail(*sequence, server_stops());
  std::list<Work> work;
  {
    const MutexLock lock(mutex_);
    queue_.remove_if([](const JobPtr&) { return true; }, [&](JobPtr job) { fail_job(*job, server_stops()); });
    work_.remove_if([](const Work&) { return true; }, [&](Work item) { work.push_back(std::move(item)); });
    work.splice(work.end(), resizes_);
  }
  for (Work& item : work) item.done.set_value(error(Code::kCancelled, "the model is being unloaded"));
  publish_stats();
}

void Scheduler::turn() {
  // 1. What others want of this thread. One piece of work: it takes turns with the passes, however much there is.
  run_next_work();
  drop_cancelled();
  admit_waiting();
  // 2. One pass for all.
  const std::vector<PassPart> parts = compose();
  if (!parts.empty()) pass(parts);
  publish_stats();
}

// Something threw, where nothing should: memory is short, or a library has a fault. Who is served now is told so, and
// what the context holds is not relied on any more.
void Scheduler::break_off(const char* why) {
  // Where there is not even memory to say so, a job's own end says it.
  try {
    notice(fmt::format("the decode thread failed, and with it who was served: {}", why));
  } catch (const std::exception&) {
    // They are told.
  }
  for (const auto& sequence : sequences_) {
    try {
      if (sequence->busy()) fail(*sequence, {Code::kInternal, "internal error"});
    } catch (const std::exception&) {
      sequence->job.reset();
      sequence->sampler.reset();
    }
    sequence->tokens.clear();
    sequence->n_computed = sequence->n_as_prompt = engine_.cut(sequence->seq, 0);
  }
  const MutexLock lock(mutex_);
  in_pass_.clear();
  n_busy_ = 0;
  changed_.notify_all();
}

bool Scheduler::any_busy() const {
  return std::any_of(sequences_.begin(), sequences_.end(), [](const auto& sequence) { return sequence->busy(); });
}

bool Scheduler::wait_for_work() {
  const MutexLock lock(mutex_);
  while (!stopping_ && queue_.empty() && work_.empty() && resizes_.empty() && !any_busy()) changed_.wait(mutex_);
  return !stopping_;
}

void Scheduler::run_next_work() {
  std::optional<Work> next;
  {
    const MutexLock lock(mutex_);
    if (is_resize_due_locked()) {
      next = std::move(resizes_.front());
      resizes_.pop_front();
    } else {
      next = work_.pop();
    }
    if (!next) return;
    running_work_ = next->number;
  }
  Result<void> outcome;
  try {
    outcome = next->function(engine_);
  } catch (const std::exception& e) {
    outcome = error(Code::kInternal, e.what());
  }
  {
    const MutexLock lock(mutex_);
    running_work_ = 0;
  }
  next->done.set_value(std::move(outcome));
}

bool Scheduler::is_resize_due_locked() const {
  return !resizes_.empty() && (n_busy_ == 0 || resizes_.front().since_asked.elapsed_s() >= options_.resize_patience_s);
}

// An interrupted request finds what it held in the prompt cache, as far as there is room for it there; the rest it
// computes again, which in a few passes makes up for many tokens.
Result<void> Scheduler::resize_now(uint32_t n_ctx) {
  if (engine_.model().n_ctx == n_ctx) return {};
  for (const auto& sequence : sequences_) {
    reuse_.keep(*sequence);
    if (!sequence->busy()) sequence->tokens.clear();
    sequence->n_computed = sequence->n_as_prompt = 0;
  }
  auto resized = engine_.resize_context(n_ctx);
  n_ctx_ = engine_.model().n_ctx;
  reuse_.use_new_context();
  const auto usable = engine_.check_usable();
  for (const auto& sequence : sequences_) {
    if (usable && !resized) engine_.cut(sequence->seq, 0);  // the old context may hold what it held
    if (!sequence->busy()) continue;
    if (!usable) {
      fail(*sequence, usable.error());
      continue;
    }
    reuse_.restore(*sequence, sequence->reusable(sequence->tokens));
    reuse_.plan_checkpoints(*sequence);
  }
  return resized;
}

void Scheduler::drop_cancelled() {
  bool all = false;
  {
    const MutexLock lock(mutex_);
    all = cancel_all_;
  }
  const Status why = all ? server_stops() : client_left();
  for (const auto& sequence : sequences_)
    if (sequence->busy() && (all || sequence->job->ticket->cancelled())) fail(*sequence, why);
  const MutexLock lock(mutex_);
  queue_.remove_if([all](const JobPtr& job) { return all || job->ticket->cancelled(); },
                   [&](JobPtr job) { fail_job(*job, why); });
  if (all) changed_.notify_all();
}

void Scheduler::admit_waiting() {
  for (;;) {
    if (std::none_of(sequences_.begin(), sequences_.end(), [](const auto& sequence) { return !sequence->busy(); }))
      return;
    JobPtr job;
    {
      const MutexLock lock(mutex_);
      if (!resizes_.empty()) return;
      auto next = queue_.pop();
      if (!next) return;
      job = std::move(*next);
      ++n_busy_;
    }
    if (auto usable = engine_.check_usable(); !usable) {
      {
        const MutexLock lock(mutex_);
        --n_busy_;
        changed_.notify_all();
      }
      fail_job(*job, usable.error());
      continue;
    }
    ServedSequence* sequence = reuse_.choose_sequence(job->request.prompt);
    begin(*sequence, std::move(job));
  }
}

void Scheduler::begin(ServedSequence& sequence, JobPtr job) {
  sequence.queue_s = job->since_submit.elapsed_s();
  sequence.since_begin = Stopwatch();
  sequence.prompt_s = 0;
  sequence.at_begin = engine_.stats();
  sequence.suspect = false;
  sequence.used = ++clock_;
  sequence.job = std::move(job);
  sequence.n_scored = sequence.job->request.scores_from.value_or(0);
  reuse_.restore(sequence, sequence.reusable(sequence.job->request.prompt));
  sequence.n_cached = sequence.n_computed;
  sequence.tokens = sequence.job->request.prompt;
  sequence.n_prompt = sequence.tokens.size();
  reuse_.plan_checkpoints(sequence);
  ++own_stats_.requests;
  own_stats_.cached_tokens += sequence.n_cached;
  answer_.begin(sequence);
  publish_stats();  // a pass may take long, and this sequence is busy from now on
  sequence.job->ticket->publish_progress(Phase::kPrompt, sequence.n_prompt, sequence.n_computed, sequence.n_cached);
  if (sequence.wants_score(0)) answer_.score_prompt_token(sequence, 0, std::nullopt);
}

std::vector<PassPart> Scheduler::compose() {
  return plan_pass(sequences_,
                   {.tokens_max = engine_.pass_tokens_max(),
                    .outputs_max = engine_.pass_outputs_max(),
                    .prompt_tokens_max = prompt_room()},
                   turn_);
}

size_t Scheduler::prompt_room() const {
  const bool any_answer = std::any_of(sequences_.begin(), sequences_.end(),
                                      [](const auto& sequence) { return sequence->busy() && !sequence->in_prompt(); });
  return any_answer ? times_.tokens_beside_answers() : times_.tokens_beside_prompts();
}

void Scheduler::pass(const std::vector<PassPart>& parts) {
  std::vector<BatchToken> batch;
  std::vector<int32_t> outputs;
  for (const PassPart& part : parts) {
    for (size_t i = 0; i < part.n_tokens; ++i) {
      const size_t at = part.sequence->n_computed + i;
      batch.push_back({.id = part.sequence->tokens[at],
                       .pos = static_cast<int32_t>(at),
                       .seq = part.sequence->seq,
                       .want_logits = i + part.n_outputs >= part.n_tokens});
    }
    outputs.push_back(static_cast<int32_t>(batch.size()) - 1);
  }
  // A batch with one output may be cut, where there is less room for experts than there was a moment ago.
  if (std::count_if(batch.begin(), batch.end(), [](const BatchToken& token) { return token.want_logits; }) == 1)
    std::fill(outputs.begin(), outputs.end(), -1);
  if (!enter_pass(parts)) return;
  const PromptImage* image = parts.front().image;
  const bool is_prompt = parts.front().n_tokens > 1 || image != nullptr;
  const Stopwatch watch;
  const auto outcome =
      image != nullptr ? engine_.decode_image(*image, batch.front().seq, batch.front().pos) : engine_.decode(batch);
  const double pass_s = watch.elapsed_s();
  leave_pass();
  ++own_stats_.passes;
  own_stats_.sequences_in_passes += parts.size();
  own_stats_.pass_s += pass_s;
  if (is_prompt) own_stats_.prompt_s += pass_s;
  own_stats_.engine = engine_.stats();
  if (!outcome) return pass_failed(parts, outcome.error());
  if (!is_prompt)
    times_.answers(pass_s);
  else if (image == nullptr)  // what it takes says nothing of text
    times_.prompt(batch.size(), pass_s);
  for (size_t p = 0; p < parts.size(); ++p) {
    ServedSequence& sequence = *parts[p].sequence;
    const size_t end = sequence.n_computed + parts[p].n_tokens;
    if (engine_.held(sequence.seq).n != end) {
      sequence.n_computed = sequence.n_as_prompt = engine_.cut(sequence.seq, 0);
      fail(sequence, {Code::kInternal, "the context does not hold what was computed"});
      continue;
    }
    for (size_t next = end - parts[p].n_outputs + 1; next <= end; ++next)
      if (sequence.wants_score(next))
        answer_.score_prompt_token(sequence, next, outputs[p] - static_cast<int32_t>(end - next));
    if (sequence.n_as_prompt == sequence.n_computed &&
        (image != nullptr || is_proper_text(sequence.tokens, sequence.n_computed, end)))
      sequence.n_as_prompt = end;
    sequence.n_computed = end;
    sequence.suspect = false;
    if (sequence.in_prompt()) {
      own_stats_.prompt_tokens += parts[p].n_tokens;
      sequence.job->ticket->publish_progress(Phase::kPrompt, sequence.n_prompt, sequence.n_computed, sequence.n_cached);
    }
    reuse_.checkpoint(sequence);
    if (sequence.n_missing() == 0) advance(sequence, outputs[p]);
  }
}

// false: all that it would compute for went away meanwhile, or the server stops. The engine forgets what it was told
// before a pass.
bool Scheduler::enter_pass(const std::vector<PassPart>& parts) {
  const MutexLock lock(mutex_);
  for (const PassPart& part : parts) in_pass_.push_back(part.sequence->job->ticket);
  const bool wanted = !stopping_ && !cancel_all_ && !nobody_wants_pass_locked();
  if (!wanted) in_pass_.clear();
  return wanted;
}

// From here on cancel() aborts nothing; what it told the engine before, the next pass forgets.
void Scheduler::leave_pass() {
  const MutexLock lock(mutex_);
  in_pass_.clear();
}

bool Scheduler::nobody_wants_pass_locked() const {
  return std::all_of(in_pass_.begin(), in_pass_.end(), [](const auto& ticket) { return ticket->cancelled(); });
}

// The tokens of the batch are gone from the context, and more where it cannot be cut. Whose fault it was shows when
// each of them computes alone.
void Scheduler::pass_failed(const std::vector<PassPart>& parts, const Status& status) {
  for (const PassPart& part : parts) {
    part.sequence->n_computed = engine_.held(part.sequence->seq).n;
    part.sequence->n_as_prompt = std::min(part.sequence->n_as_prompt, part.sequence->n_computed);
    reuse_.plan_checkpoints(*part.sequence);
  }
  if (status.code() == Code::kCancelled) return;  // somebody went away: the others go on
  for (const PassPart& part : parts) part.sequence->suspect = parts.size() > 1;
  if (parts.size() == 1) fail(*parts.front().sequence, status);
}

void Scheduler::advance(ServedSequence& sequence, int32_t output) {
  const size_t n_before = sequence.n_answer;
  const AnswerStep step = answer_.advance(sequence, output);
  own_stats_.answer_tokens += sequence.n_answer - n_before;
  if (step.failure) return fail(sequence, *step.failure);
  if (!step.shifted.empty()) {
    reuse_.go_back(sequence, step.shifted);
    sequence.tokens = step.shifted;
    reuse_.plan_checkpoints(sequence);
  }
  if (step.end) finish(sequence, *step.end);
}

void Scheduler::finish(ServedSequence& sequence, FinishReason reason) {
  Outcome outcome;
  outcome.reason = reason;
  const std::string rest = sequence.utf8.push(sequence.stops.finish()) + sequence.utf8.finish();
  sequence.job->ticket->publish_text(rest, std::nullopt);
  outcome.context = reason == FinishReason::kStopString ? answer_.tokens_before_stop(sequence) : sequence.tokens;
  // Nobody else knows what an image's place means.
  if (next_image(outcome.context, 0) < outcome.context.size()) outcome.context.clear();
  outcome.prompt_tokens = sequence.n_prompt;
  outcome.cached_tokens = sequence.n_cached;
  outcome.answer_tokens = sequence.n_answer;
  outcome.queue_s = sequence.queue_s;
  outcome.prompt_s = sequence.prompt_s;
  outcome.decode_s = std::max(0.0, sequence.since_begin.elapsed_s() - sequence.prompt_s);
  outcome.at_begin = sequence.at_begin;
  outcome.at_answer = sequence.at_answer;
  outcome.at_end = engine_.stats();
  if (reason == FinishReason::kStopString) outcome.stop_string = sequence.stops.matched();
  const JobPtr job = std::move(sequence.job);
  ++own_stats_.finished;
  release(sequence);
  job->ticket->publish_outcome(std::move(outcome));
  store_when_idle(sequence);
}

void Scheduler::fail(ServedSequence& sequence, Status status) {
  const JobPtr job = std::move(sequence.job);
  ++(status.code() == Code::kCancelled ? own_stats_.cancelled : own_stats_.failed);
  release(sequence);  // first: who sees the outcome finds the sequence free
  publish_failure(*job, std::move(status));
}

void Scheduler::fail_job(ServingJob& job, Status status) {
  ++(status.code() == Code::kCancelled ? own_stats_.cancelled : own_stats_.failed);
  publish_failure(job, std::move(status));
}

void Scheduler::publish_failure(ServingJob& job, Status status) {
  Outcome outcome;
  outcome.prompt_tokens = job.request.prompt.size();
  outcome.failure = std::move(status);
  job.ticket->publish_outcome(std::move(outcome));
}

// What the sequence computed stays in it for who comes next.
void Scheduler::release(ServedSequence& sequence) {
  sequence.job.reset();
  sequence.sampler.reset();
  sequence.tokens.resize(sequence.n_computed);
  sequence.used = ++clock_;
  publish_stats();
  const MutexLock lock(mutex_);
  --n_busy_;
  changed_.notify_all();
}

// Only when nobody waits for the next pass: writing takes a while.
void Scheduler::store_when_idle(const ServedSequence& sequence) {
  if (any_busy()) return;
  {
    const MutexLock lock(mutex_);
    if (!queue_.empty() || stopping_) return;
  }
  reuse_.store_when_grown(sequence);
}

void Scheduler::publish_stats() {
  own_stats_.sequences.clear();
  for (const auto& sequence : sequences_)
    own_stats_.sequences.push_back({.id = static_cast<uint32_t>(sequence->seq),
                                    .busy = sequence->busy(),
                                    .phase = !sequence->busy()       ? Phase::kDone
                                             : sequence->in_prompt() ? Phase::kPrompt
                                                                     : Phase::kAnswer,
                                    .context_tokens = sequence->n_computed,
                                    .prompt_tokens = sequence->n_prompt,
                                    .answer_tokens = sequence->n_answer});
  if (options_.prompt_cache != nullptr) own_stats_.cache = options_.prompt_cache->stats();
  const MutexLock lock(mutex_);
  stats_ = own_stats_;
}

}  // namespace spillway
