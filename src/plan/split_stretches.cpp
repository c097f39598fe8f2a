// SPDX-License-Identifier: MIT
#include "plan/split_stretches.h"

#include <algorithm>
#include <limits>

namespace spillway {
namespace {

constexpr double kUnreachable = std::numeric_limits<double>::infinity();

// A stage at one home: its fastest option, and the smallest one where that is another.
struct Choice {
  size_t fast = 0, small = 0;
  double fast_s = kUnreachable, small_s = kUnreachable;
  uint64_t fast_bytes = 0, small_bytes = 0;
  bool possible = false;

  bool can_give_way() const { return small_bytes < fast_bytes; }
  double loss_per_byte() const { return (small_s - fast_s) / static_cast<double>(fast_bytes - small_bytes); }
};

Choice choice_at(const std::vector<StageOption>& options, size_t home, double host_price) {
  Choice choice;
  for (size_t o = 0; o < options.size(); ++o) {
    const StageOption& option = options[o];
    if (option.home != home) continue;
    const double seconds = option.seconds + host_price * static_cast<double>(option.host_bytes);
    const uint64_t bytes = home > 0 ? option.bytes : 0;
    if (!choice.possible || seconds < choice.fast_s)
      choice.fast = o, choice.fast_s = seconds, choice.fast_bytes = bytes;
    if (!choice.possible || bytes < choice.small_bytes || (bytes == choice.small_bytes && seconds < choice.small_s))
      choice.small = o, choice.small_s = seconds, choice.small_bytes = bytes;
    choice.possible = true;
  }
  return choice;
}

// All stretches of one home.
class Stretches {
 public:
  Stretches(const SplitProblem& problem, size_t home, double host_price)
      : capacity_bytes_(home > 0 ? problem.capacity_bytes[home] : UINT64_MAX) {
    for (const auto& options : problem.stages) choices_.push_back(choice_at(options, home, host_price));
    for (size_t s = 0; s < choices_.size(); ++s)
      if (choices_[s].can_give_way()) by_loss_.push_back(s);
    std::stable_sort(by_loss_.begin(), by_loss_.end(),
                     [&](size_t a, size_t b) { return choices_[a].loss_per_byte() < choices_[b].loss_per_byte(); });
  }

  // Calls `found(end, seconds)` for each end that stretches from `begin` on can have.
  template <typename Found>
  void from(size_t begin, Found found) const {
    uint64_t fast_bytes = 0, small_bytes = 0;
    double fast_s = 0;
    for (size_t s = begin; s < choices_.size() && choices_[s].possible; ++s) {
      fast_bytes += choices_[s].fast_bytes;
      small_bytes += choices_[s].small_bytes;
      fast_s += choices_[s].fast_s;
      if (small_bytes > capacity_bytes_) return;
      found(s + 1, fast_s + loss(begin, s + 1, fast_bytes, nullptr));
    }
  }

  void choose(size_t begin, size_t end, std::vector<size_t>& chosen) const {
    uint64_t bytes = 0;
    for (size_t s = begin; s < end; ++s) chosen[s] = choices_[s].fast, bytes += choices_[s].fast_bytes;
    loss(begin, end, bytes, &chosen);
  }

 private:
  // Seconds lost so that a stretch fits; what gives way is noted.
  double loss(size_t begin, size_t end, uint64_t bytes, std::vector<size_t>* chosen) const {
    double seconds = 0;
    for (size_t i = 0; bytes > capacity_bytes_ && i < by_loss_.size(); ++i) {
      const size_t s = by_loss_[i];
      if (s < begin || s >= end) continue;
      const Choice& choice = choices_[s];
      bytes -= choice.fast_bytes - choice.small_bytes;
      seconds += choice.small_s - choice.fast_s;
      if (chosen != nullptr) (*chosen)[s] = choice.small;
    }
    return seconds;
  }

  const uint64_t capacity_bytes_;
  std::vector<Choice> choices_;  // [stage]
  std::vector<size_t> by_loss_;  // stages that can give way, the least loss first
};

// The best way to have stages 0.. up to here end at this home.
struct Arrival {
  double seconds = kUnreachable;
  size_t begin = 0, home_before = 0;  // of the last stretch
};

}  // namespace

std::vector<size_t> split_by_stretches(const SplitProblem& problem, double host_price) {
  const size_t n_home = problem.capacity_bytes.size(), n_stage = problem.stages.size();
  std::vector<Stretches> homes;
  for (size_t h = 0; h < n_home; ++h) homes.emplace_back(problem, h, host_price);
  // 1. Home by home: stretches begin where those of homes before end. The way starts at the host.
  std::vector<std::vector<Arrival>> arrivals(n_home, std::vector<Arrival>(n_stage + 1));
  for (size_t h = 0; h < n_home; ++h)
    for (size_t begin = 0; begin < n_stage; ++begin) {
      Arrival way{.seconds = kUnreachable, .begin = begin, .home_before = 0};
      if (begin == 0) way.seconds = problem.hop_s[0][h] + host_price * static_cast<double>(problem.join_bytes(0, h));
      for (size_t before = 0; before < h && begin > 0; ++before) {
        const double seconds = arrivals[before][begin].seconds + problem.hop_s[before][h] +
                               host_price * static_cast<double>(problem.join_bytes(before, h));
        if (seconds < way.seconds) way.seconds = seconds, way.home_before = before;
      }
      if (way.seconds == kUnreachable) continue;
      homes[h].from(begin, [&](size_t end, double seconds) {
        Arrival& arrival = arrivals[h][end];
        if (way.seconds + seconds < arrival.seconds) {
          arrival = way;
          arrival.seconds += seconds;
        }
      });
    }
  // 2. Back from the end.
  size_t home = 0;
  for (size_t h = 1; h < n_home; ++h)
    if (arrivals[h][n_stage].seconds < arrivals[home][n_stage].seconds) home = h;
  if (arrivals[home][n_stage].seconds == kUnreachable) return {};
  std::vector<size_t> chosen(n_stage);
  for (size_t end = n_stage; end > 0;) {
    const Arrival& arrival = arrivals[home][end];
    homes[home].choose(arrival.begin, end, chosen);
    end = arrival.begin;
    home = arrival.home_before;
  }
  return chosen;
}

}  // namespace spillway
