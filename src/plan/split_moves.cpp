// SPDX-License-Identifier: MIT
#include "plan/split_moves.h"

#include <algorithm>
#include <limits>
#include <set>
#include <tuple>

namespace spillway {
namespace {

constexpr double kUnbounded = std::numeric_limits<double>::infinity();
// A change that gains less of the time is not looked for further.
constexpr double kMoveGainMin = 1e-6;
constexpr int kChangesMax = 64;

bool in_order(const SplitProblem& problem, const std::vector<size_t>& chosen, size_t s, size_t home) {
  const auto home_of = [&](size_t at) { return problem.stages[at][chosen[at]].home; };
  return (s == 0 || home_of(s - 1) <= home) && (s + 1 == chosen.size() || home <= home_of(s + 1));
}

// Takes what is faster and fits, the most seconds for each byte first.
void use_room(const SplitProblem& problem, std::vector<size_t>& chosen) {
  for (size_t guard = 0; guard < 2 * chosen.size(); ++guard) {
    double best_gain = 0;
    size_t best_s = 0, best_o = 0;
    for (size_t s = 0; s < chosen.size(); ++s) {
      const size_t now = chosen[s];
      const StageOption& before = problem.stages[s][now];
      for (size_t o = 0; o < problem.stages[s].size(); ++o) {
        const StageOption& then = problem.stages[s][o];
        if (then.seconds >= before.seconds || !in_order(problem, chosen, s, then.home)) continue;
        const auto bytes = static_cast<double>(then.bytes + then.host_bytes + 1);
        const double gain = (before.seconds - then.seconds) / bytes;
        if (gain <= best_gain) continue;
        chosen[s] = o;
        if (fits(problem, chosen)) best_gain = gain, best_s = s, best_o = o;
        chosen[s] = now;
      }
    }
    if (best_gain <= 0) return;
    chosen[best_s] = best_o;
  }
}

}  // namespace

std::vector<uint64_t> used_bytes(const SplitProblem& problem, const std::vector<size_t>& chosen) {
  std::vector<uint64_t> used(problem.capacity_bytes.size(), 0);
  size_t home = 0;
  for (size_t s = 0; s < chosen.size(); ++s) {
    const StageOption& option = problem.stages[s][chosen[s]];
    used[0] += option.host_bytes + problem.join_bytes(home, option.home);
    if (option.home > 0) used[option.home] += option.bytes;
    home = option.home;
  }
  return used;
}

bool make_fit(const SplitProblem& problem, std::vector<size_t>& chosen) {
  for (size_t guard = 0; guard < 8 * chosen.size() + 8; ++guard) {
    const std::vector<uint64_t> used = used_bytes(problem, chosen);
    size_t full = used.size();
    for (size_t h = 0; h < used.size(); ++h)
      if (used[h] > problem.capacity_bytes[h]) full = h;
    if (full == used.size()) return true;
    double best_loss = kUnbounded;
    size_t best_s = 0, best_o = 0;
    for (size_t s = 0; s < chosen.size(); ++s) {
      const StageOption& now = problem.stages[s][chosen[s]];
      if (full > 0 && now.home != full) continue;
      for (size_t o = 0; o < problem.stages[s].size(); ++o) {
        const StageOption& then = problem.stages[s][o];
        if (!in_order(problem, chosen, s, then.home)) continue;
        const uint64_t before = full > 0 ? now.bytes : now.host_bytes;
        const uint64_t after = full > 0 ? (then.home == full ? then.bytes : 0) : then.host_bytes;
        if (after >= before || (full > 0 && then.home > full)) continue;
        const uint64_t more = then.home == now.home ? then.bytes - std::min(then.bytes, now.bytes) : then.bytes;
        if (full == 0 && then.home > 0 && used[then.home] + more > problem.capacity_bytes[then.home]) continue;
        const double loss = (then.seconds - now.seconds) / static_cast<double>(before - after);
        if (loss < best_loss) best_loss = loss, best_s = s, best_o = o;
      }
    }
    if (best_loss == kUnbounded) return false;
    chosen[best_s] = best_o;
  }
  return false;
}

void improve(const SplitProblem& problem, std::vector<size_t>& chosen) {
  if (chosen.empty()) return;
  double best_s = seconds_of(problem, chosen);
  for (int change = 0; change < kChangesMax; ++change) {
    const std::vector<size_t> start = chosen;
    const double start_s = best_s;
    // Layers are alike: of the same change to the same kind of stage one is enough.
    std::set<std::tuple<size_t, uint64_t, double, size_t, uint64_t, double>> tried;
    for (size_t s = 0; s < start.size(); ++s)
      for (size_t o = 0; o < problem.stages[s].size(); ++o) {
        const StageOption &before = problem.stages[s][start[s]], &then = problem.stages[s][o];
        if (o == start[s] || !in_order(problem, start, s, then.home)) continue;
        if (!tried.emplace(before.home, before.bytes, before.seconds, then.home, then.bytes, then.seconds).second)
          continue;
        std::vector<size_t> changed = start;
        changed[s] = o;
        if (!make_fit(problem, changed)) continue;
        use_room(problem, changed);
        const double changed_s = seconds_of(problem, changed);
        if (changed_s < best_s) best_s = changed_s, chosen = std::move(changed);
      }
    if (best_s > start_s * (1 - kMoveGainMin)) return;
  }
}

}  // namespace spillway
