// SPDX-License-Identifier: MIT
#include "serving/ticket.h"

#include <utility>

namespace spillway {

TicketUpdate Ticket::wait(std::chrono::milliseconds patience) {
  const MutexLock lock(mutex_);
  changed_.wait_for(mutex_, patience, [this]() REQUIRES(mutex_) { return !update_.empty(); });
  TicketUpdate update = std::move(update_);
  update_ = {};
  update_.phase = update.phase;
  update_.prompt_tokens = update.prompt_tokens;
  update_.prompt_done = update.prompt_done;
  update_.cached_tokens = update.cached_tokens;
  return update;
}

void Ticket::publish_progress(Phase phase, size_t prompt_tokens, size_t prompt_done, size_t cached_tokens) {
  const MutexLock lock(mutex_);
  update_.phase = phase;
  update_.prompt_tokens = prompt_tokens;
  update_.prompt_done = prompt_done;
  update_.cached_tokens = cached_tokens;
}

void Ticket::publish_text(std::string_view text, std::optional<TokenScore> score) {
  if (text.empty() && !score) return;
  const MutexLock lock(mutex_);
  update_.phase = Phase::kAnswer;
  update_.text += text;
  if (score) update_.scores.push_back(std::move(*score));
  changed_.notify_all();
}

void Ticket::publish_prompt_score(TokenScore score) {
  const MutexLock lock(mutex_);
  update_.scores.push_back(std::move(score));
  changed_.notify_all();
}

void Ticket::fail_unless_done(Status status) {
  {
    const MutexLock lock(mutex_);
    if (update_.phase == Phase::kDone) return;
  }
  Outcome outcome;
  outcome.failure = std::move(status);
  publish_outcome(std::move(outcome));
}

void Ticket::publish_outcome(Outcome outcome) {
  const MutexLock lock(mutex_);
  update_.phase = Phase::kDone;
  update_.outcome = std::move(outcome);
  changed_.notify_all();
}

}  // namespace spillway
