// SPDX-License-Identifier: MIT
#include "engine/scheduler.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "base/clock.h"
#include "base/notice.h"
#include "base/stop_matcher.h"
#include "base/utf8_buffer.h"
#include "engine/token_scores.h"
#include "os/machine.h"

namespace spillway {
namespace {

// A slot whose own prefix is this much shorter than another's is not worth the copy.
constexpr size_t kCopyTokensMin = 32;
// What a slot held is kept in memory before something else takes its place, when it is at least this long.
constexpr size_t kKeepTokensMin = 32;
// Recurrent states cannot be cut, so they are kept at these distances while a prompt is computed, and at its end.
constexpr size_t kCheckpointTokens = 512;
// A conversation is written to disk again when it has grown by this share: all writes together stay below five times
// the last one.
constexpr double kStoreGrowth = 0.25;

}  // namespace

// A request, from submit() until it has a slot.
struct Scheduler::Job {
  GenerateRequest request;
  std::shared_ptr<Ticket> ticket;
  Stopwatch since_submit;
};

// A sequence of the engine and who is served with it. `tokens` are all that it is to hold; the first `n_computed` of
// them it does hold. Whatever is behind those is computed next, and when nothing is, the next token is chosen: prompt
// and answer are the same thing in this.
struct Scheduler::Slot {
  int32_t seq = 0;
  std::vector<TokenId> tokens;
  size_t n_computed = 0;
  uint64_t used = 0;  // when, for the least recently used

  JobPtr job;  // null: free
  std::unique_ptr<Sampler> sampler;
  StopMatcher stops{{}};
  Utf8Buffer utf8;
  std::string trigger_tail;  // text of the answer that may end in grammar_after
  bool grammar_due = false;
  std::optional<size_t> n_exact;  // after a shift: what is behind these was computed with a past that is gone
  size_t n_prompt = 0, n_cached = 0, n_answer = 0;
  size_t next_checkpoint = 0;
  double queue_s = 0, prompt_s = 0;
  Stopwatch since_begin;
  bool suspect = false;  // a pass that it was part of failed: it computes alone, to see whose fault that was

  bool busy() const { return job != nullptr; }
  size_t n_missing() const { return tokens.size() - n_computed; }
  bool in_prompt() const { return n_answer == 0; }
};

// What one slot brings to a pass.
struct Scheduler::Part {
  Slot* slot = nullptr;
  size_t n_tokens = 0;
  bool wants_logits = false;
};

std::unique_ptr<Scheduler> Scheduler::start(Engine& engine, SchedulerOptions options) {
  return std::unique_ptr<Scheduler>(new Scheduler(engine, options));
}

Scheduler::Scheduler(Engine& engine, SchedulerOptions options)
    : engine_(engine), options_(options), queue_(options.queue_max) {
  for (uint32_t i = 0; i < std::max(options_.n_slots, 1u); ++i) {
    slots_.push_back(std::make_unique<Slot>());
    slots_.back()->seq = static_cast<int32_t>(i);
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
  if (request.prompt.size() > model.n_ctx)
    return error(Code::kContextOverflow,
                 fmt::format("request ({} tokens) exceeds the available context size ({} tokens), try increasing it",
                             request.prompt.size(), model.n_ctx));
  for (const TokenId id : request.prompt)
    if (id < 0 || id >= model.n_vocab)
      return error(Code::kInvalidArgument,
                   fmt::format("token id {} is outside the vocabulary of {} tokens", id, model.n_vocab));
  auto job = std::make_unique<Job>();
  auto ticket = std::make_shared<Ticket>();  // shared by the asking side and the decode thread
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
  const MutexLock lock(mutex_);
  // Should another one have begun meanwhile, its pass is computed again.
  if (n_busy_ == 1) engine_.abort();
}

void Scheduler::cancel_all() {
  const MutexLock lock(mutex_);
  draining_ = cancel_all_ = true;
  engine_.abort();
  changed_.notify_all();
}

Result<void> Scheduler::run(std::function<Result<void>(Engine&)> work) {
  std::future<Result<void>> done;
  {
    const MutexLock lock(mutex_);
    if (stopping_) return error(Code::kCancelled, "the model is being unloaded");
    Work item;
    item.function = std::move(work);
    done = item.done.get_future();
    work_.push_back(std::move(item));
    changed_.notify_all();
  }
  return done.get();
}

Result<void> Scheduler::resize_context(uint32_t n_ctx) {
  std::future<Result<void>> done;
  {
    const MutexLock lock(mutex_);
    if (stopping_) return error(Code::kCancelled, "the model is being unloaded");
    Work item;
    item.when_idle = true;
    item.function = [this, n_ctx](Engine& engine) -> Result<void> {
      if (engine.model().n_ctx == n_ctx) return {};
      for (const auto& slot : slots_) {
        if (options_.prompt_cache != nullptr && slot->n_computed >= kKeepTokensMin)
          options_.prompt_cache->keep(engine, slot->seq, slot->tokens);
        slot->tokens.clear();
        slot->n_computed = 0;
      }
      return engine.resize_context(n_ctx);
    };
    done = item.done.get_future();
    work_.push_back(std::move(item));
    changed_.notify_all();
  }
  return done.get();
}

void Scheduler::save_slots() {
  (void)run([this](Engine& engine) -> Result<void> {
    if (options_.prompt_cache == nullptr) return {};
    for (const auto& slot : slots_)
      if (!slot->busy() && slot->n_computed > 0) options_.prompt_cache->store(engine, slot->seq, slot->tokens);
    return {};
  });
}

bool Scheduler::drain(std::chrono::milliseconds patience) {
  const double deadline_s = monotonic_s() + std::chrono::duration<double>(patience).count();
  const MutexLock lock(mutex_);
  draining_ = true;
  while (n_busy_ > 0 || !queue_.empty()) {
    const double left_s = deadline_s - monotonic_s();
    if (left_s <= 0) return false;
    changed_.wait_for(mutex_, std::chrono::milliseconds(static_cast<int64_t>(left_s * 1000) + 1));
  }
  return true;
}

SchedulerStats Scheduler::stats() const {
  const MutexLock lock(mutex_);
  SchedulerStats stats = stats_;
  stats.queued = queue_.size();
  stats.draining = draining_;
  stats.refused = refused_;
  return stats;
}

bool Scheduler::idle() const {
  const MutexLock lock(mutex_);
  return n_busy_ == 0 && queue_.empty();
}

// ---- the decode thread

void Scheduler::loop() {
  while (wait_for_work()) {
    // 1. What others want of this thread.
    run_work();
    drop_cancelled();
    admit_waiting();
    // 2. One pass for all.
    const std::vector<Part> parts = compose();
    if (!parts.empty()) pass(parts);
    publish_stats();
  }
  // The end: whoever still waits is told so.
  for (const auto& slot : slots_)
    if (slot->busy()) fail(*slot, {Code::kCancelled, "the server stopped"});
  std::list<Work> work;
  {
    const MutexLock lock(mutex_);
    queue_.remove_if([](const JobPtr&) { return true; },
                     [&](JobPtr job) {
                       fail_job(*job, {Code::kCancelled, "the server stopped"});
                     });
    work.swap(work_);
  }
  for (Work& item : work) item.done.set_value(error(Code::kCancelled, "the model is being unloaded"));
  publish_stats();
}

bool Scheduler::wait_for_work() {
  const auto any_busy = [this] {
    return std::any_of(slots_.begin(), slots_.end(), [](const auto& slot) { return slot->busy(); });
  };
  const MutexLock lock(mutex_);
  while (!stopping_ && queue_.empty() && work_.empty() && !any_busy()) changed_.wait(mutex_);
  return !stopping_;
}

void Scheduler::run_work() {
  for (;;) {
    Work item;
    {
      const MutexLock lock(mutex_);
      const bool busy = n_busy_ > 0;
      const auto next =
          std::find_if(work_.begin(), work_.end(), [&](const Work& work) { return !work.when_idle || !busy; });
      if (next == work_.end()) return;
      item = std::move(*next);
      work_.erase(next);
    }
    try {
      item.done.set_value(item.function(engine_));
    } catch (const std::exception& e) {
      item.done.set_value(error(Code::kInternal, e.what()));
    }
  }
}

void Scheduler::drop_cancelled() {
  bool all = false;
  {
    const MutexLock lock(mutex_);
    all = cancel_all_;
  }
  const Status why(Code::kCancelled, all ? "the server stopped" : "the client went away");
  for (const auto& slot : slots_)
    if (slot->busy() && (all || slot->job->ticket->cancelled())) fail(*slot, why);
  const MutexLock lock(mutex_);
  queue_.remove_if([all](const JobPtr& job) { return all || job->ticket->cancelled(); },
                   [&](JobPtr job) { fail_job(*job, why); });
  if (all) changed_.notify_all();
}

void Scheduler::admit_waiting() {
  for (;;) {
    if (std::none_of(slots_.begin(), slots_.end(), [](const auto& slot) { return !slot->busy(); })) return;
    JobPtr job;
    {
      const MutexLock lock(mutex_);
      // Somebody waits for all slots to be free.
      if (std::any_of(work_.begin(), work_.end(), [](const Work& work) { return work.when_idle; })) return;
      auto next = queue_.pop();
      if (!next) return;
      job = std::move(*next);
      ++n_busy_;
    }
    size_t reusable = 0;
    Slot* slot = choose_slot(*job, reusable);
    begin(*slot, std::move(job));
  }
}

// The free slot that has the most of this prompt, unless taking it would throw away a longer conversation; then the
// least recently used.
Scheduler::Slot* Scheduler::choose_slot(const Job& job, size_t& reusable) {
  Slot* best = nullptr;
  Slot* oldest = nullptr;
  for (const auto& slot : slots_) {
    if (slot->busy()) continue;
    if (oldest == nullptr || slot->used < oldest->used) oldest = slot.get();
    const size_t n = common_prefix(std::span(slot->tokens).first(slot->n_computed), job.request.prompt);
    const bool continues = 2 * n >= slot->n_computed;
    if (n > reusable && continues) {
      reusable = n;
      best = slot.get();
    }
  }
  return best != nullptr ? best : oldest;
}

void Scheduler::begin(Slot& slot, JobPtr job) {
  slot.queue_s = job->since_submit.elapsed_s();
  slot.since_begin = Stopwatch();
  reuse_prefix(slot, *job);
  const GenerateRequest& request = job->request;
  slot.n_cached = slot.n_computed;
  slot.tokens = request.prompt;
  slot.n_prompt = slot.tokens.size();
  slot.n_answer = 0;
  slot.stops = StopMatcher(request.stop);
  slot.utf8 = Utf8Buffer();
  slot.trigger_tail.clear();
  slot.prompt_s = 0;
  slot.next_checkpoint = (slot.n_computed / kCheckpointTokens + 1) * kCheckpointTokens;
  slot.used = ++clock_;
  slot.job = std::move(job);
  ++own_stats_.requests;
  own_stats_.cached_tokens += slot.n_cached;

  SamplingOptions sampling = slot.job->request.sampling;
  slot.n_exact.reset();
  slot.suspect = false;
  slot.grammar_due = !sampling.grammar.empty() && !slot.job->request.grammar_after.empty();
  if (slot.grammar_due) sampling.grammar.clear();
  slot.sampler = engine_.make_sampler(sampling);
  if (slot.sampler == nullptr) return fail(slot, {Code::kInvalidArgument, "the grammar cannot be parsed"});
  for (const TokenId id : slot.tokens) slot.sampler->accept(id);
  slot.job->ticket->publish_progress(Phase::kPrompt, slot.n_prompt, slot.n_computed, slot.n_cached);
}

// Leaves in the slot as much of the prompt as can be had without computing, but at least one token less than all: the
// logits of the last one are needed.
void Scheduler::reuse_prefix(Slot& slot, const Job& job) {
  const std::span<const TokenId> prompt(job.request.prompt);
  const std::span<const TokenId> wanted = prompt.first(prompt.size() - 1);
  const bool cuttable = engine_.model().can_trim;
  const auto usable = [&](std::span<const TokenId> held) {
    const size_t n = common_prefix(held, wanted);
    return cuttable || n == held.size() ? n : 0;
  };
  const size_t own = usable(std::span(slot.tokens).first(slot.n_computed));

  Slot* other = nullptr;
  size_t best = own;
  for (const auto& candidate : slots_) {
    if (candidate.get() == &slot) continue;
    const size_t n = usable(std::span(candidate->tokens).first(candidate->n_computed));
    if (n >= best + kCopyTokensMin) {
      best = n;
      other = candidate.get();
    }
  }
  // What is lost from this slot may be wanted again. Kept first: it may push out what would be found.
  if (options_.prompt_cache != nullptr && slot.n_computed >= kKeepTokensMin && 2 * own < slot.n_computed)
    options_.prompt_cache->keep(engine_, slot.seq, std::span(slot.tokens).first(slot.n_computed));
  std::optional<PromptCache::Match> match;
  if (options_.prompt_cache != nullptr) {
    match = options_.prompt_cache->find(wanted, !cuttable);
    if (match && match->n_tokens < best + kCopyTokensMin) match.reset();
  }

  size_t held = slot.n_computed, n = own;
  if (match) {
    const auto restored = options_.prompt_cache->restore(*match, engine_, slot.seq);
    if (!restored && restored.error().code() == Code::kCorrupt) notice(restored.error().message());
    if (!restored) engine_.forget(slot.seq, 0);
    held = restored ? match->n_held : 0;
    n = restored ? match->n_tokens : 0;
  } else if (other != nullptr) {
    engine_.copy_sequence(other->seq, slot.seq);
    held = other->n_computed;
    n = best;
  }
  if (n < held && !engine_.forget(slot.seq, static_cast<int32_t>(n))) {
    engine_.forget(slot.seq, 0);
    n = 0;
  }
  slot.n_computed = n;
}

// All that are being answered bring one token each; what room is left is shared by the prompts. When not all fit, the
// next pass begins with those that were left out.
std::vector<Scheduler::Part> Scheduler::compose() {
  std::vector<Part> parts;
  size_t room = std::max<size_t>(engine_.pass_tokens_max(), 1);
  std::vector<Slot*> prompts;
  const size_t n = slots_.size();
  size_t first_left_out = n;
  const auto alone =
      std::find_if(slots_.begin(), slots_.end(), [](const auto& slot) { return slot->busy() && slot->suspect; });
  for (size_t i = 0; i < n; ++i) {
    const size_t index = (next_first_ + i) % n;
    Slot* slot = slots_[index].get();
    if (!slot->busy() || slot->n_missing() == 0 || (alone != slots_.end() && slot != alone->get())) continue;
    if (slot->n_missing() > 1) {
      prompts.push_back(slot);
    } else if (room > 0) {
      parts.push_back({slot, 1, true});
      --room;
    } else if (first_left_out == n) {
      first_left_out = index;
    }
  }
  if (!parts.empty() && options_.prompt_tokens_per_pass > 0) room = std::min(room, options_.prompt_tokens_per_pass);
  for (size_t i = 0; i < prompts.size() && room > 0; ++i) {
    Slot* slot = prompts[i];
    size_t share = std::max<size_t>(room / (prompts.size() - i), 1);
    if (!engine_.model().can_trim && slot->n_computed < slot->next_checkpoint)
      share = std::min(share, slot->next_checkpoint - slot->n_computed);
    const size_t count = std::min(share, slot->n_missing());
    parts.push_back({slot, count, count == slot->n_missing()});
    room -= count;
  }
  if (first_left_out < n) next_first_ = first_left_out;
  return parts;
}

void Scheduler::pass(const std::vector<Part>& parts) {
  std::vector<BatchToken> batch;
  std::vector<int32_t> outputs;
  bool has_prompt = false;
  for (const Part& part : parts) {
    for (size_t i = 0; i < part.n_tokens; ++i) {
      const size_t at = part.slot->n_computed + i;
      batch.push_back({.id = part.slot->tokens[at],
                       .pos = static_cast<int32_t>(at),
                       .seq = part.slot->seq,
                       .want_logits = part.wants_logits && i + 1 == part.n_tokens});
    }
    outputs.push_back(static_cast<int32_t>(batch.size()) - 1);
    has_prompt = has_prompt || part.slot->in_prompt();
  }
  const Stopwatch watch;
  const auto outcome = engine_.decode(batch);
  const double pass_s = watch.elapsed_s();
  ++own_stats_.passes;
  own_stats_.slots_in_passes += parts.size();
  own_stats_.pass_s += pass_s;
  if (has_prompt) own_stats_.prompt_s += pass_s;
  own_stats_.engine = engine_.stats();
  if (!outcome) return pass_failed(parts, outcome.error());
  for (size_t p = 0; p < parts.size(); ++p) {
    Slot& slot = *parts[p].slot;
    slot.n_computed += parts[p].n_tokens;
    slot.suspect = false;
    if (slot.in_prompt()) {
      own_stats_.prompt_tokens += parts[p].n_tokens;
      slot.job->ticket->publish_progress(Phase::kPrompt, slot.n_prompt, slot.n_computed, slot.n_cached);
      checkpoint(slot);
    }
    if (slot.n_missing() == 0) advance(slot, outputs[p]);
  }
}

// The tokens of the batch are gone from the context, and of a model that cannot be cut everything. Whose fault it was
// shows when each of them computes alone.
void Scheduler::pass_failed(const std::vector<Part>& parts, const Status& status) {
  for (const Part& part : parts) {
    if (engine_.model().can_trim) continue;
    engine_.forget(part.slot->seq, 0);
    part.slot->n_computed = 0;
  }
  if (status.code() == Code::kCancelled) return;  // somebody went away: the others go on
  for (const Part& part : parts) part.slot->suspect = parts.size() > 1;
  if (parts.size() == 1) fail(*parts.front().slot, status);
}

// The slot holds all its tokens: the next one is chosen, unless it was told to stop here.
void Scheduler::advance(Slot& slot, int32_t output) {
  if (slot.in_prompt()) slot.prompt_s = slot.since_begin.elapsed_s();
  const GenerateRequest& request = slot.job->request;
  if (request.max_tokens == 0) return finish(slot, FinishReason::kMaxTokens);
  if (engine_.logits(output).empty())
    return fail(slot, {Code::kUnsupported, "this model computes embeddings, not text: it cannot answer a prompt"});
  const TokenId id = slot.sampler->sample(output);
  if (!request.ignore_eos && engine_.ends_generation(id)) return finish(slot, FinishReason::kEnd);
  append_token(slot, id, output);
}

void Scheduler::append_token(Slot& slot, TokenId id, int32_t output) {
  const GenerateRequest& request = slot.job->request;
  slot.tokens.push_back(id);
  ++slot.n_answer;
  ++own_stats_.answer_tokens;
  const std::string piece = engine_.token_text(id, request.special_text);
  std::optional<TokenScore> score;
  if (request.scores) {
    score = score_token(engine_.logits(output), id, request.top_scores);
    score->bytes = engine_.token_text(id, true);
    for (TokenScore& other : score->top) other.bytes = engine_.token_text(other.id, true);
  }
  slot.job->ticket->publish_text(slot.utf8.push(slot.stops.push(piece)), std::move(score));
  if (slot.stops.stopped()) return finish(slot, FinishReason::kStopString);
  if (request.max_tokens > 0 && slot.n_answer >= static_cast<size_t>(request.max_tokens))
    return finish(slot, FinishReason::kMaxTokens);
  if (slot.tokens.size() >= engine_.model().n_ctx && !make_room(slot)) return finish(slot, FinishReason::kContextFull);
  if (slot.grammar_due) {
    slot.trigger_tail += piece;
    start_grammar_when_due(slot);
  }
}

void Scheduler::start_grammar_when_due(Slot& slot) {
  const GenerateRequest& request = slot.job->request;
  if (slot.trigger_tail.find(request.grammar_after) == std::string::npos) {
    const size_t keep = std::min(slot.trigger_tail.size(), request.grammar_after.size());
    slot.trigger_tail.erase(0, slot.trigger_tail.size() - keep);
    return;
  }
  slot.grammar_due = false;
  slot.sampler = engine_.make_sampler(request.sampling);
  if (slot.sampler == nullptr) return fail(slot, {Code::kInvalidArgument, "the grammar cannot be parsed"});
  for (const TokenId id : slot.tokens) slot.sampler->accept(id);
}

// Forgets the older half of what is behind the tokens to keep. false: not asked for, or this model cannot.
bool Scheduler::make_room(Slot& slot) {
  const GenerateRequest& request = slot.job->request;
  if (!request.shift || !engine_.model().can_shift) return false;
  const size_t n_keep = std::min(request.n_keep, slot.n_computed / 2);
  const size_t n_discard = (slot.n_computed - n_keep) / 2;
  if (n_discard == 0 ||
      !engine_.shift_sequence(slot.seq, static_cast<int32_t>(n_keep), static_cast<int32_t>(n_discard)))
    return false;
  const auto begin = slot.tokens.begin() + static_cast<std::ptrdiff_t>(n_keep);
  slot.tokens.erase(begin, begin + static_cast<std::ptrdiff_t>(n_discard));
  slot.n_computed -= n_discard;
  slot.n_exact = std::min(slot.n_exact.value_or(n_keep), n_keep);
  return true;
}

void Scheduler::checkpoint(Slot& slot) {
  if (engine_.model().can_trim || options_.prompt_cache == nullptr) return;
  if (slot.n_computed < slot.next_checkpoint && slot.n_missing() > 0) return;
  options_.prompt_cache->keep(engine_, slot.seq, std::span(slot.tokens).first(slot.n_computed));
  slot.next_checkpoint = (slot.n_computed / kCheckpointTokens + 1) * kCheckpointTokens;
}

void Scheduler::finish(Slot& slot, FinishReason reason) {
  Outcome outcome;
  outcome.reason = reason;
  const std::string rest = slot.utf8.push(slot.stops.finish()) + slot.utf8.finish();
  slot.job->ticket->publish_text(rest, std::nullopt);
  outcome.context = slot.tokens;
  outcome.prompt_tokens = slot.n_prompt;
  outcome.cached_tokens = slot.n_cached;
  outcome.answer_tokens = slot.n_answer;
  outcome.queue_s = slot.queue_s;
  outcome.prompt_s = slot.prompt_s;
  outcome.decode_s = std::max(0.0, slot.since_begin.elapsed_s() - slot.prompt_s);
  if (reason == FinishReason::kStopString) outcome.stop_string = slot.stops.matched();
  const std::shared_ptr<Ticket> ticket = slot.job->ticket;
  ++own_stats_.finished;
  release(slot);
  ticket->publish_outcome(std::move(outcome));
  store_when_grown(slot);
}

void Scheduler::fail(Slot& slot, Status status) {
  const JobPtr job = std::move(slot.job);
  ++(status.code() == Code::kCancelled ? own_stats_.cancelled : own_stats_.failed);
  release(slot);  // first: who sees the outcome finds the slot free
  publish_failure(*job, std::move(status));
}

void Scheduler::fail_job(Job& job, Status status) {
  ++(status.code() == Code::kCancelled ? own_stats_.cancelled : own_stats_.failed);
  publish_failure(job, std::move(status));
}

void Scheduler::publish_failure(Job& job, Status status) {
  Outcome outcome;
  outcome.prompt_tokens = job.request.prompt.size();
  outcome.failure = std::move(status);
  job.ticket->publish_outcome(std::move(outcome));
}

// What the slot computed stays in it for who comes next.
void Scheduler::release(Slot& slot) {
  slot.job.reset();
  slot.sampler.reset();
  if (slot.n_exact) slot.n_computed = engine_.forget(slot.seq, static_cast<int32_t>(*slot.n_exact)) ? *slot.n_exact : 0;
  slot.tokens.resize(slot.n_computed);
  slot.used = ++clock_;
  publish_stats();
  const MutexLock lock(mutex_);
  --n_busy_;
  changed_.notify_all();
}

// Only when nobody waits for the next pass: writing takes a while.
void Scheduler::store_when_grown(Slot& slot) {
  if (options_.prompt_cache == nullptr) return;
  if (std::any_of(slots_.begin(), slots_.end(), [](const auto& other) { return other->busy(); })) return;
  {
    const MutexLock lock(mutex_);
    if (!queue_.empty() || stopping_) return;
  }
  const auto stored = static_cast<double>(options_.prompt_cache->stored_prefix(slot.tokens));
  if (static_cast<double>(slot.tokens.size()) < (1 + kStoreGrowth) * stored) return;
  options_.prompt_cache->store(engine_, slot.seq, slot.tokens);
}

void Scheduler::publish_stats() {
  own_stats_.slots.clear();
  for (const auto& slot : slots_)
    own_stats_.slots.push_back({.id = static_cast<uint32_t>(slot->seq),
                                .busy = slot->busy(),
                                .phase = !slot->busy()       ? Phase::kDone
                                         : slot->in_prompt() ? Phase::kPrompt
                                                             : Phase::kAnswer,
                                .context_tokens = slot->n_computed,
                                .prompt_tokens = slot->n_prompt,
                                .answer_tokens = slot->n_answer});
  if (options_.prompt_cache != nullptr) own_stats_.cache = options_.prompt_cache->stats();
  const MutexLock lock(mutex_);
  stats_ = own_stats_;
}

}  // namespace spillway
