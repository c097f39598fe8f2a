// SPDX-License-Identifier: MIT
// How much memory the weights that may come and go shall have, while others on the machine, or in the same cgroup, take
// and give: less at once, before the kernel reclaims or kills; more again slowly, when it has been calm. Pure: time and
// samples are passed in.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace spillway {

// What was seen at one moment.
struct BudgetSample {
  double now_s = 0;
  uint64_t available_bytes = 0;  // what allocations could still have, here
  uint64_t limit_bytes = 0;      // of all that share it: the cgroup's limit, or the machine's memory
  uint64_t held_bytes = 0;       // memory of ours that could be given back, taken at this moment
  double stalled_s = 0;          // time spent standing still for want of memory, ever growing
};

class BudgetControl {
 public:
  // `asked_bytes`: what the budget allows. `least_bytes`: with less nothing can be computed.
  BudgetControl(uint64_t asked_bytes, uint64_t least_bytes);

  // Another budget: taken over at once as far as memory is there.
  void set_asked(uint64_t asked_bytes);

  // Looks at one more sample, later than the last. What is allowed then is bytes().
  void observe(const BudgetSample& sample);

  // From least_bytes to the asked.
  uint64_t bytes() const { return bytes_; }
  // Not even least_bytes leave the others enough, for longer than a moment.
  bool is_short() const { return short_; }

  uint64_t shrinks() const { return shrinks_; }  // times that others took memory from us
  uint64_t growths() const { return growths_; }

 private:
  struct Seen {
    double at_s = 0;
    uint64_t room_bytes = 0;
  };
  double loss_bytes_per_s(const Seen& now) const;

  uint64_t asked_bytes_;
  const uint64_t least_bytes_;
  uint64_t bytes_;
  uint64_t shrinks_ = 0, growths_ = 0;
  bool pressed_ = false;  // the last sample made it shrink: one shrink may take several
  double last_stalled_s_ = 0;
  std::array<Seen, 16> seen_;  // the last samples, in turn
  size_t n_seen_ = 0;          // samples ever
  double calm_since_s_ = 0;    // nobody took anything
  double grown_s_ = 0;
  double lacking_since_s_ = -1;  // -1: not lacking
  bool short_ = false;
};

}  // namespace spillway
