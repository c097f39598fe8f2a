// SPDX-License-Identifier: MIT
// How fast one place multiplies each type of weights, from a profile that measured some types. Pure.
#pragma once

#include <string>
#include <vector>

#include "hw/machine_profile.h"

namespace spillway {

class Rates {
 public:
  // `memory_bytes_per_s`: what reading allows where no type was measured; 0: unknown.
  Rates(const std::vector<MatmulRate>& measured, double memory_bytes_per_s);

  // Whether there is any figure; without one everything below is a guess about a small computer.
  bool known() const { return known_; }

  // For a type that was not measured: the mean of those that were.
  double decode_bytes_per_s(const std::string& type) const;
  double prefill_flops_per_s(const std::string& type) const;
  double expert_prefill_flops_per_s(const std::string& type) const;  // unmeasured: a share of the other

 private:
  std::vector<MatmulRate> rates_;
  double decode_mean_ = 0, prefill_mean_ = 0;
  bool known_ = false;
};

}  // namespace spillway
