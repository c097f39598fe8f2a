// SPDX-License-Identifier: MIT
// A dynamic program over stages and homes. What a chain may still do depends on its home, and on what it has taken of
// two memories: that home's, since no stage goes back to one before it, and the host's. So a chain of the first stages
// is dropped where a faster one at the same home has taken no more of either. That is judged in steps of a memory,
// which bounds how many chains go on; what a chain has taken is counted in bytes, so that none takes more than there
// is. Of models' layers few kinds are different: some tens of chains go on at each home, and 100 stages over four
// devices take a few milliseconds.
#include "plan/device_split.h"

#include <algorithm>
#include <tuple>

#include "base/check.h"

namespace spillway {
namespace {

// A chain so far: all that its continuation depends on, and where it came from.
struct Label {
  double seconds = 0;
  uint64_t host_bytes = 0, home_bytes = 0;  // taken, of the host's memory and of its device's
  size_t home = 0;
  size_t before = 0, option = 0;  // the label of the stage in front, and what was chosen there
};

bool before(const Label& a, const Label& b) {
  return std::tie(a.seconds, a.host_bytes, a.home_bytes) < std::tie(b.seconds, b.host_bytes, b.home_bytes);
}

class Chains {
 public:
  explicit Chains(const SplitProblem& problem) : problem_(problem) {
    for (const uint64_t bytes : problem.capacity_bytes)
      steps_per_byte_.push_back(static_cast<double>(kSplitSteps) / static_cast<double>(std::max<uint64_t>(bytes, 1)));
  }

  // Of chains one stage longer, those worth going on from, the fastest first.
  void extend(const std::vector<StageOption>& options) {
    std::vector<Label> longer;
    std::vector<size_t> least(problem_.capacity_bytes.size(), SIZE_MAX);  // [home] taken of the host by faster ones
    for (size_t l = 0; l < labels_.size(); ++l) {
      // What a device holds does not matter to those that leave it.
      const size_t host_steps = steps(0, labels_[l].host_bytes);
      const bool leaves = host_steps < least[labels_[l].home];
      if (leaves) least[labels_[l].home] = host_steps;
      for (size_t o = 0; o < options.size(); ++o)
        if (options[o].home == labels_[l].home || (leaves && options[o].home > labels_[l].home))
          add(l, o, options[o], longer);
    }
    std::stable_sort(longer.begin(), longer.end(), before);
    keep_best(longer);
  }

  Split fastest() const {
    if (labels_.empty()) return {};
    Split split{.chosen = std::vector<size_t>(choices_.size()), .seconds = labels_.front().seconds};
    size_t at = 0;
    for (size_t s = choices_.size(); s-- > 0; at = choices_[s][at].before) split.chosen[s] = choices_[s][at].option;
    return split;
  }

 private:
  struct Choice {
    size_t before, option;
  };

  size_t steps(size_t home, uint64_t bytes) const {
    return std::min(static_cast<size_t>(static_cast<double>(bytes) * steps_per_byte_[home]), kSplitSteps);
  }

  // Label `l` with an option of the next stage, where there is memory for it.
  void add(size_t l, size_t o, const StageOption& option, std::vector<Label>& longer) const {
    const Label& from = labels_[l];
    const size_t home = option.home;
    Label to{.seconds = from.seconds + option.seconds + problem_.hop_s[from.home][home],
             .host_bytes = from.host_bytes + option.host_bytes + problem_.join_bytes(from.home, home),
             .home = home,
             .before = l,
             .option = o};
    if (home > 0) to.home_bytes = option.bytes + (home == from.home ? from.home_bytes : 0);
    if (to.host_bytes > problem_.capacity_bytes[0]) return;
    if (home == 0 || to.home_bytes <= problem_.capacity_bytes[home]) longer.push_back(to);
  }

  // `sorted`: the fastest first.
  void keep_best(const std::vector<Label>& sorted) {
    labels_.clear();
    std::vector<Choice>& choices = choices_.emplace_back();
    // [home][steps of it] the least steps of the host's memory among those that take no more of the home's.
    std::vector<std::vector<size_t>> least(problem_.capacity_bytes.size(), std::vector(kSplitSteps + 1, SIZE_MAX));
    for (const Label& label : sorted) {
      const size_t host_steps = steps(0, label.host_bytes);
      std::vector<size_t>& least_steps = least[label.home];
      size_t i = label.home > 0 ? steps(label.home, label.home_bytes) : 0;
      if (least_steps[i] <= host_steps) continue;
      for (; i < least_steps.size() && least_steps[i] > host_steps; ++i) least_steps[i] = host_steps;
      labels_.push_back(label);
      choices.push_back({label.before, label.option});
    }
  }

  const SplitProblem& problem_;
  std::vector<double> steps_per_byte_;        // [home]
  std::vector<Label> labels_{Label{}};        // of the stages so far, the fastest first
  std::vector<std::vector<Choice>> choices_;  // [stage][label]
};

}  // namespace

Split split_over_homes(const SplitProblem& problem) {
  Chains chains(problem);
  for (const std::vector<StageOption>& options : problem.stages) {
    // Else chains on the host could beat each other, and the one that fits might be dropped.
    CHECK(std::count_if(options.begin(), options.end(), [](const StageOption& o) { return o.home == 0; }) <= 1);
    chains.extend(options);
  }
  return chains.fastest();
}

}  // namespace spillway
