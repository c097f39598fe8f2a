// SPDX-License-Identifier: MIT
#include "store/eviction_policy.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

namespace spillway {
namespace {

double decayed(double heat, uint64_t accesses, double half_life_accesses) {
  return heat * std::exp2(-static_cast<double>(accesses) / half_life_accesses);
}

class Lru : public EvictionPolicy {
 public:
  std::string_view name() const override { return "lru"; }
  KeepOrder keep_order(const Usage& usage) const override { return {.worth = static_cast<double>(usage.last_use)}; }
};

class Lfu : public EvictionPolicy {
 public:
  explicit Lfu(double half_life_accesses) : half_life_accesses_(half_life_accesses) {}
  std::string_view name() const override { return "lfu"; }
  KeepOrder keep_order(const Usage& usage) const override {
    // log2 of the heat decayed to `now`, plus now / half-life, which is the same for all.
    const double worth = usage.heat > 0
                             ? std::log2(usage.heat) + static_cast<double>(usage.last_use) / half_life_accesses_
                             : -std::numeric_limits<double>::infinity();
    // What a scan brought is used up; among scanned ones heat still decides, so a prefill leaves the hot set alone.
    return {.chosen = !usage.scanned, .worth = worth};
  }

 private:
  const double half_life_accesses_;
};

class Mru : public EvictionPolicy {
 public:
  std::string_view name() const override { return "mru"; }
  KeepOrder keep_order(const Usage& usage) const override { return {.worth = -static_cast<double>(usage.last_use)}; }
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
