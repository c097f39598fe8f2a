// SPDX-License-Identifier: MIT
#include "store/eviction_policy.h"

#include <fmt/format.h>

#include <cmath>

namespace spillway {
namespace {

double decayed(double heat, uint64_t accesses, double half_life_accesses) {
  return heat * std::exp2(-static_cast<double>(accesses) / half_life_accesses);
}

class Lru : public EvictionPolicy {
 public:
  std::string_view name() const override { return "lru"; }
  double keep_score(const Usage& usage, uint64_t) const override { return static_cast<double>(usage.last_use); }
};

class Lfu : public EvictionPolicy {
 public:
  explicit Lfu(double half_life_accesses) : half_life_accesses_(half_life_accesses) {}
  std::string_view name() const override { return "lfu"; }
  double keep_score(const Usage& usage, uint64_t now) const override {
    const double heat = decayed(usage.heat, now - usage.last_use, half_life_accesses_);
    // What a scan brought is used up; among scanned ones heat still decides, so a prefill leaves the hot set alone.
    return usage.scanned ? heat - 1e9 : heat;
  }

 private:
  const double half_life_accesses_;
};

class Mru : public EvictionPolicy {
 public:
  std::string_view name() const override { return "mru"; }
  double keep_score(const Usage& usage, uint64_t) const override { return -static_cast<double>(usage.last_use); }
};

}  // namespace

Result<std::unique_ptr<EvictionPolicy>> make_policy(std::string_view name, double half_life_accesses) {
  if (name == "lru") return std::make_unique<Lru>();
  if (name == "lfu") return std::make_unique<Lfu>(half_life_accesses);
  if (name == "mru") return std::make_unique<Mru>();
  return error(Code::kNotFound, fmt::format("no eviction policy is called '{}' (lru, lfu, mru)", name));
}

void touch(Usage& usage, uint64_t now, bool scan, double half_life_accesses) {
  usage.heat = decayed(usage.heat, now - usage.last_use, half_life_accesses) + (scan ? 0.0 : 1.0);
  usage.last_use = now;
  usage.scanned = scan;
}

}  // namespace spillway
