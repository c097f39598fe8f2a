// SPDX-License-Identifier: MIT
#include "serving/pass_times.h"

#include <algorithm>

#include "engine/prompt_parts.h"

namespace spillway {
namespace {

constexpr double kBesideAnswers_s = 1, kBesidePrompts_s = 10;
constexpr double kPassesOfAnswers = 4;
// What an older measurement weighs beside the next one: about the last ten parts count.
constexpr double kKept = 0.9;
// Lengths that differ less, by the square of their share, tell nothing about what every part takes.
constexpr double kSpreadMin = 0.01;

}  // namespace

void PassTimes::answers(double seconds) {
  answers_s_ = answers_s_ == 0 ? seconds : kKept * answers_s_ + (1 - kKept) * seconds;
}

void PassTimes::prompt(size_t n_tokens, double seconds) {
  if (n_tokens < kPartTokens) return;  // computed in another way
  const auto n = static_cast<double>(n_tokens);
  for (double* sum : {&n_, &tokens_, &seconds_, &tokens2_, &tokens_seconds_}) *sum *= kKept;
  n_ += 1;
  tokens_ += n;
  seconds_ += seconds;
  tokens2_ += n * n;
  tokens_seconds_ += n * seconds;
}

// A line through what was measured, weighted least squares.
size_t PassTimes::tokens_within(double seconds) const {
  if (n_ == 0) return 0;
  const double mean_tokens = tokens_ / n_, mean_s = seconds_ / n_;
  const double spread = tokens2_ / n_ - mean_tokens * mean_tokens;
  double each_part_s = 0, each_token_s = mean_s / mean_tokens;
  if (spread > kSpreadMin * mean_tokens * mean_tokens) {
    const double slope = (tokens_seconds_ / n_ - mean_tokens * mean_s) / spread;
    each_token_s = std::clamp(slope, each_token_s / 1000, each_token_s);
    each_part_s = mean_s - each_token_s * mean_tokens;
  }
  if (each_token_s <= 0) return 0;
  const double tokens = std::max(seconds - each_part_s, each_part_s) / each_token_s;
  return std::max(kPartTokens, whole_parts(static_cast<size_t>(std::min(tokens, 1e9))));
}

size_t PassTimes::tokens_beside_answers() const {
  return tokens_within(std::max(kBesideAnswers_s, kPassesOfAnswers * answers_s_));
}

size_t PassTimes::tokens_beside_prompts() const {
  return tokens_within(std::max(kBesidePrompts_s, kPassesOfAnswers * answers_s_));
}

}  // namespace spillway
