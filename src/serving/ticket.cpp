// SPDX-License-Identifier: MIT
#include "serving/ticket.h"

#include <utility>

namespace spillway {

News Ticket::wait(std::chrono::milliseconds patience) {
  const MutexLock lock(mutex_);
  changed_.wait_for(mutex_, patience, [this]() REQUIRES(mutex_) { return !news_.empty(); });
  News news = std::move(news_);
  news_ = {};
  news_.phase = news.phase;
  news_.prompt_tokens = news.prompt_tokens;
  news_.prompt_done = news.prompt_done;
  news_.cached_tokens = news.cached_tokens;
  return news;
}

void Ticket::publish_progress(Phase phase, size_t prompt_tokens, size_t prompt_done, size_t cached_tokens) {
  const MutexLock lock(mutex_);
  news_.phase = phase;
  news_.prompt_tokens = prompt_tokens;
  news_.prompt_done = prompt_done;
  news_.cached_tokens = cached_tokens;
}

void Ticket::publish_text(std::string_view text, std::optional<TokenScore> score) {
  if (text.empty() && !score) return;
  const MutexLock lock(mutex_);
  news_.phase = Phase::kAnswer;
  news_.text += text;
  if (score) news_.scores.push_back(std::move(*score));
  changed_.notify_all();
}

void Ticket::publish_prompt_score(TokenScore score) {
  const MutexLock lock(mutex_);
  news_.scores.push_back(std::move(score));
  changed_.notify_all();
}

void Ticket::fail_unless_done(Status status) {
  {
    const MutexLock lock(mutex_);
    if (news_.phase == Phase::kDone) return;
  }
  Outcome outcome;
  outcome.failure = std::move(status);
  publish_outcome(std::move(outcome));
}

void Ticket::publish_outcome(Outcome outcome) {
  const MutexLock lock(mutex_);
  news_.phase = Phase::kDone;
  news_.outcome = std::move(outcome);
  changed_.notify_all();
}

}  // namespace spillway
