// SPDX-License-Identifier: MIT
// Without the limits on memory the best chain is a shortest path over homes, found stage by stage. Give each byte of a
// home a price, and the shortest path under those prices, less what the memory there would earn, is a lower bound for
// every split that fits (Lagrange). The fast method looks for prices at which that bound is highest, turns each path on
// the way into one that fits, asks for the best stretches, and then follows many chains side by side, best bounds
// first, and ends with a few milliseconds of the exact search. That one searches depth first and cuts off what the
// bound of the remaining stages rules out.
#include "plan/device_split.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "plan/split_moves.h"
#include "plan/split_stretches.h"

namespace spillway {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();
constexpr int kRounds = 120, kRoundsRepaired = 40;
// How hard to search. Of many layers few kinds are different, and chains of the same kinds beat each other, so long
// chains need less width; short ones can be searched to the end.
struct Effort {
  size_t labels_first, labels_then;  // chains followed at once, of each home
  size_t labels_compared;
  uint64_t steps;  // of the exact search
};
constexpr size_t kShortChain = 26;
constexpr Effort kShort{40, 1000, 300, 2'000'000}, kLong{40, 120, 60, 30'000};
constexpr double kGoodEnough = 0.003;
// How far above a bound the first split that fits may be.
constexpr double kGapGuess = 0.5;
// Prices of the host's memory that are tried with stretches.
constexpr int kStretchPrices = 8;
// Every choice of homes is tried up to so many.
constexpr size_t kHomesTried = 4;
// Costs closer than this are equal: sums of doubles in another order.
constexpr double kTie = 1e-12;

using Prices = std::vector<double>;  // [home] seconds per byte

// Of a choice that may be empty: none.
double seconds_if_it_fits(const SplitProblem& problem, const std::vector<size_t>& chosen) {
  return !chosen.empty() && fits(problem, chosen) ? seconds_of(problem, chosen) : kNever;
}

// Of an option behind a stage at `from`, the way there included.
double priced(const SplitProblem& problem, size_t from, const StageOption& option, const Prices& prices) {
  const uint64_t host_bytes = option.host_bytes + problem.join_bytes(from, option.home);
  double seconds = option.seconds + problem.hop_s[from][option.home] + prices[0] * static_cast<double>(host_bytes);
  if (option.home > 0) seconds += prices[option.home] * static_cast<double>(option.bytes);
  return seconds;
}

using Bytes = std::array<uint64_t, kHomesMax>;  // [home]

// Takes an option's memory out of what is left. false: there is not so much; what is left is then of no meaning.
bool take(const SplitProblem& problem, size_t from, const StageOption& option, Bytes& left_bytes) {
  const uint64_t host_bytes = option.host_bytes + problem.join_bytes(from, option.home);
  if (host_bytes > left_bytes[0] || (option.home > 0 && option.bytes > left_bytes[option.home])) return false;
  left_bytes[0] -= host_bytes;
  if (option.home > 0) left_bytes[option.home] -= option.bytes;
  return true;
}

Bytes capacity_of(const SplitProblem& problem) {
  Bytes bytes{};
  std::copy(problem.capacity_bytes.begin(), problem.capacity_bytes.end(), bytes.begin());
  return bytes;
}

// rest[s][h]: the least priced seconds of stages s.. when the stage before them is at home h.
using Rest = std::vector<std::vector<double>>;

Rest cheapest_rest(const SplitProblem& problem, const Prices& prices) {
  const size_t n_home = problem.capacity_bytes.size(), n_stage = problem.stages.size();
  Rest rest(n_stage + 1, std::vector<double>(n_home, 0.0));
  for (size_t s = n_stage; s-- > 0;)
    for (size_t h = 0; h < n_home; ++h) {
      rest[s][h] = kNever;
      for (const StageOption& option : problem.stages[s])
        if (option.home >= h)
          rest[s][h] = std::min(rest[s][h], priced(problem, h, option, prices) + rest[s + 1][option.home]);
    }
  return rest;
}

std::vector<size_t> follow(const SplitProblem& problem, const Prices& prices, const Rest& rest) {
  std::vector<size_t> chosen;
  size_t home = 0;
  for (size_t s = 0; s < problem.stages.size(); ++s) {
    size_t best = 0;
    double best_s = kNever;
    for (size_t o = 0; o < problem.stages[s].size(); ++o) {
      const StageOption& option = problem.stages[s][o];
      if (option.home < home) continue;
      const double seconds = priced(problem, home, option, prices) + rest[s + 1][option.home];
      if (seconds < best_s) best_s = seconds, best = o;
    }
    chosen.push_back(best);
    home = problem.stages[s][best].home;
  }
  return chosen;
}

// A chain so far: all that its continuation depends on, and where it came from.
struct Label {
  size_t home = 0, option = 0, before = 0;  // before: label of the stage in front
  double seconds = 0, bound = 0;            // bound: no continuation is faster than this
  Bytes left_bytes{};                       // [home]
};

// Of the same home.
bool dominates(const Label& a, const Label& b, size_t n_home) {
  if (a.seconds > b.seconds + kTie) return false;
  for (size_t h = 0; h < n_home; ++h)
    if (a.left_bytes[h] < b.left_bytes[h]) return false;
  return true;
}

// The labels worth going on from: best bounds first, none that another one beats in time and memory.
// Of each home the same number, or a home that pays off only later would drop out.
std::vector<Label> keep_best(std::vector<Label> labels, size_t n_home, size_t n_each, size_t n_compared) {
  std::sort(labels.begin(), labels.end(), [](const Label& a, const Label& b) { return a.bound < b.bound; });
  std::vector<std::vector<Label>> kept(n_home);
  for (const Label& label : labels) {
    std::vector<Label>& same = kept[label.home];
    if (same.size() == n_each) continue;
    // What beats a label is mostly just before it: the few last ones are looked at.
    const size_t first = same.size() - std::min(same.size(), n_compared);
    const auto beats = [&](const Label& other) { return dominates(other, label, n_home); };
    if (std::none_of(same.begin() + static_cast<ptrdiff_t>(first), same.end(), beats)) same.push_back(label);
  }
  std::vector<Label> all;
  for (const std::vector<Label>& same : kept) all.insert(all.end(), same.begin(), same.end());
  return all;
}

// All chains side by side, stage by stage, under prices; at most `n_each` of each home go on. Replaces `best` by a
// faster one.
void search_beam(const SplitProblem& problem, const Prices& prices, size_t n_each, size_t n_compared,
                 std::vector<size_t>& best) {
  const Rest rest = cheapest_rest(problem, prices);
  const double best_s = seconds_if_it_fits(problem, best);
  Label start;
  start.left_bytes = capacity_of(problem);
  std::vector<std::vector<Label>> stages{{start}};
  for (size_t s = 0; s < problem.stages.size(); ++s) {
    std::vector<Label> next;
    for (size_t l = 0; l < stages.back().size(); ++l) {
      const Label& from = stages.back()[l];
      for (size_t o = 0; o < problem.stages[s].size(); ++o) {
        const StageOption& option = problem.stages[s][o];
        if (option.home < from.home) continue;
        Label label{option.home,    o, l, from.seconds + option.seconds + problem.hop_s[from.home][option.home], 0,
                    from.left_bytes};
        if (!take(problem, from.home, option, label.left_bytes)) continue;
        label.bound = label.seconds + rest[s + 1][option.home];
        for (size_t h = 0; h < prices.size(); ++h) label.bound -= prices[h] * static_cast<double>(label.left_bytes[h]);
        if (label.bound < best_s) next.push_back(std::move(label));
      }
    }
    stages.push_back(keep_best(std::move(next), prices.size(), n_each, n_compared));
    if (stages.back().empty()) return;
  }
  size_t at = 0;
  for (size_t l = 1; l < stages.back().size(); ++l)
    if (stages.back()[l].seconds < stages.back()[at].seconds) at = l;
  if (stages.back()[at].seconds >= best_s) return;
  best.resize(problem.stages.size());
  for (size_t s = problem.stages.size(); s > 0; --s) {
    best[s - 1] = stages[s][at].option;
    at = stages[s][at].before;
  }
}

struct Priced {
  Prices prices;
  double bound = 0;
};

double bound_at(const SplitProblem& problem, const Prices& prices, const Rest& rest) {
  double bound = rest[0][0];
  for (size_t h = 0; h < prices.size(); ++h) bound -= prices[h] * static_cast<double>(problem.capacity_bytes[h]);
  return bound;
}

// Highest bound found, every path on the way made to fit and kept when it is the best. Prices move against what does
// not fit, by the step that would close the gap to the best split if the bound were a plane (Polyak); half of it when
// nothing improves. Before anything fits the gap is a guess.
Priced search_prices(const SplitProblem& problem, std::vector<size_t>& best) {
  const size_t n_home = problem.capacity_bytes.size();
  Prices prices(n_home, 0.0);
  Priced top{prices, -kNever};
  double best_s = seconds_if_it_fits(problem, best);
  double reach = 1;
  int n_idle = 0;
  for (int round = 0; round < kRounds; ++round) {
    const Rest rest = cheapest_rest(problem, prices);
    const double bound = bound_at(problem, prices, rest);
    n_idle = bound > top.bound + kTie ? 0 : n_idle + 1;
    if (bound > top.bound) top = {prices, bound};
    std::vector<size_t> path = follow(problem, prices, rest);
    const std::vector<uint64_t> used = used_bytes(problem, path);
    if (round < kRoundsRepaired && make_fit(problem, path)) {
      const double path_s = seconds_of(problem, path);
      if (path_s < best_s) best = path, best_s = path_s;
    }
    if (best_s - top.bound <= kTie) break;
    const double gap_s = best_s < kNever ? best_s - bound : kGapGuess * std::abs(bound);
    if (n_idle >= 6) {
      reach /= 2;
      n_idle = 0;
      prices = top.prices;
      if (reach < 1e-3) break;
      continue;
    }
    double length = 0;
    std::vector<double> excess(n_home, 0.0);
    for (size_t h = 0; h < n_home; ++h) {
      excess[h] = static_cast<double>(used[h]) - static_cast<double>(problem.capacity_bytes[h]);
      if (excess[h] < 0 && prices[h] <= 0) excess[h] = 0;  // room that costs nothing: no reason to move
      length += excess[h] * excess[h];
    }
    if (length <= 0) break;
    for (size_t h = 0; h < n_home; ++h) prices[h] = std::max(0.0, prices[h] + reach * gap_s / length * excess[h]);
  }
  return top;
}

// Empty when it does not fit.
std::vector<size_t> all_on_host(const SplitProblem& problem) {
  std::vector<size_t> chosen;
  for (const auto& stage : problem.stages) {
    size_t host = stage.size();
    for (size_t o = stage.size(); o-- > 0;)
      if (stage[o].home == 0 && (host == stage.size() || stage[o].seconds <= stage[host].seconds)) host = o;
    if (host == stage.size()) return {};
    chosen.push_back(host);
  }
  return fits(problem, chosen) ? chosen : std::vector<size_t>{};
}

class Search {
 public:
  Search(const SplitProblem& problem, const Priced& priced, std::vector<size_t> best, uint64_t steps_max)
      : problem_(problem),
        prices_(priced.prices),
        rest_(cheapest_rest(problem, priced.prices)),
        best_(std::move(best)),
        best_s_(seconds_if_it_fits(problem, best_)),
        steps_left_(steps_max),
        chosen_(problem.stages.size(), 0) {}

  bool run() {
    descend(0, 0, 0, capacity_of(problem_));
    return steps_left_ > 0;
  }
  const std::vector<size_t>& best() const { return best_; }
  double best_s() const { return best_s_; }

 private:
  void descend(size_t s, size_t home, double seconds, const Bytes& left_bytes) {
    if (steps_left_ == 0 || --steps_left_ == 0) return;
    if (s == problem_.stages.size()) {
      if (seconds < best_s_ - kTie) best_ = chosen_, best_s_ = seconds;
      return;
    }
    double earned = 0;
    for (size_t h = 0; h < prices_.size(); ++h) earned += prices_[h] * static_cast<double>(left_bytes[h]);
    if (seconds + rest_[s][home] - earned >= best_s_ - kTie) return;
    const auto& options = problem_.stages[s];
    for (size_t o = 0; o < options.size(); ++o) {
      const StageOption& option = options[o];
      Bytes then_left_bytes = left_bytes;
      if (option.home < home || !take(problem_, home, option, then_left_bytes)) continue;
      chosen_[s] = o;
      descend(s + 1, option.home, seconds + option.seconds + problem_.hop_s[home][option.home], then_left_bytes);
    }
  }

  const SplitProblem& problem_;
  const Prices prices_;
  const Rest rest_;
  std::vector<size_t> best_;
  double best_s_;
  uint64_t steps_left_;
  std::vector<size_t> chosen_;
};

}  // namespace

double seconds_of(const SplitProblem& problem, const std::vector<size_t>& chosen) {
  double seconds = 0;
  size_t home = 0;
  for (size_t s = 0; s < chosen.size(); ++s) {
    const StageOption& option = problem.stages[s][chosen[s]];
    if (option.home < home) return kNever;
    seconds += option.seconds + problem.hop_s[home][option.home];
    home = option.home;
  }
  return seconds;
}

bool fits(const SplitProblem& problem, const std::vector<size_t>& chosen) {
  const std::vector<uint64_t> used = used_bytes(problem, chosen);
  for (size_t h = 0; h < used.size(); ++h)
    if (used[h] > problem.capacity_bytes[h]) return false;
  return true;
}

namespace {

// Without the homes whose bit is not in `homes`.
SplitProblem restricted(const SplitProblem& problem, size_t homes) {
  SplitProblem part = problem;
  for (size_t h = 1; h < part.capacity_bytes.size(); ++h)
    if ((homes >> h & 1) == 0) part.capacity_bytes[h] = 0;
  return part;
}

// Joining a home costs a hop however little is put there, which prices cannot say. So each choice of homes is tried.
void try_fewer_homes(const SplitProblem& problem, const Effort& effort, std::vector<size_t>& best) {
  const size_t n_home = problem.capacity_bytes.size();
  if (n_home < 3 || n_home > kHomesTried) return;
  for (size_t homes = 2; homes + 2 < (1u << n_home); homes += 2) {
    const SplitProblem part = restricted(problem, homes);
    std::vector<size_t> chosen = all_on_host(part);
    const Priced top = search_prices(part, chosen);
    if (top.bound >= seconds_if_it_fits(problem, best)) continue;
    search_beam(part, top.prices, effort.labels_first, effort.labels_compared, chosen);
    if (seconds_if_it_fits(problem, chosen) < seconds_if_it_fits(problem, best)) best = chosen;
  }
}

}  // namespace

namespace {

void keep_faster(const SplitProblem& problem, std::vector<size_t> other, std::vector<size_t>& best) {
  if (seconds_if_it_fits(problem, other) < seconds_if_it_fits(problem, best)) best = std::move(other);
}

// The host's memory has a price there. The one that fits best is looked for between none and one that is too high,
// beginning with the one that gave the highest bound.
void try_stretches(const SplitProblem& problem, double price, std::vector<size_t>& best) {
  std::vector<size_t> free = split_by_stretches(problem, 0);
  if (free.empty()) return;
  const bool fits_free = fits(problem, free);
  keep_faster(problem, std::move(free), best);
  if (fits_free) return;
  double low = 0, high = kNever;
  for (int i = 0; i < kStretchPrices && price > 0; ++i) {
    std::vector<size_t> chosen = split_by_stretches(problem, price);
    (fits(problem, chosen) ? high : low) = price;
    if (make_fit(problem, chosen)) keep_faster(problem, std::move(chosen), best);
    price = high < kNever ? (low + high) / 2 : 2 * price;
  }
}

}  // namespace

Split split_fast(const SplitProblem& problem) {
  CHECK(problem.capacity_bytes.size() <= kHomesMax);
  Split split;
  split.chosen = all_on_host(problem);
  const Priced top = search_prices(problem, split.chosen);
  try_stretches(problem, top.prices[0], split.chosen);
  const auto good_enough = [&] { return seconds_if_it_fits(problem, split.chosen) <= top.bound * (1 + kGoodEnough); };
  const bool is_short = problem.stages.size() <= kShortChain;
  const Effort& effort = is_short ? kShort : kLong;
  if (!good_enough()) search_beam(problem, top.prices, effort.labels_first, effort.labels_compared, split.chosen);
  if (!good_enough()) improve(problem, split.chosen);
  if (!good_enough() && is_short) try_fewer_homes(problem, effort, split.chosen);
  if (!good_enough()) search_beam(problem, top.prices, effort.labels_then, effort.labels_compared, split.chosen);
  split.seconds = seconds_if_it_fits(problem, split.chosen);
  split.seconds_min = std::min(top.bound, split.seconds);
  if (good_enough()) return split;
  Search search(problem, top, split.chosen, effort.steps);
  const bool proved = search.run();
  split.chosen = search.best();
  split.seconds = search.best_s();
  split.seconds_min = proved ? split.seconds : std::min(top.bound, split.seconds);
  return split;
}

Result<Split> split_exactly(const SplitProblem& problem, uint64_t steps_max) {
  Split split = split_fast(problem);
  std::vector<size_t> scratch = split.chosen;
  Search search(problem, search_prices(problem, scratch), split.chosen, steps_max);
  if (!search.run()) return error(Code::kUnsupported, "the split has too many possibilities to prove the best one");
  split.chosen = search.best();
  split.seconds = split.seconds_min = search.best_s();
  if (split.chosen.empty()) return error(Code::kOutOfBudget, "no split fits");
  return split;
}

}  // namespace spillway
