// SPDX-License-Identifier: MIT
// The generator's randomness: integers only up to the last step, so a seed means the same bytes on every machine.
// Every row of every tensor has a stream of its own, named by (seed, tensor, row); order of writing does not matter.
#pragma once

#include <cstdint>
#include <string_view>

namespace spillway::make_model {

// SplitMix64's finalizer: every input bit reaches every output bit.
constexpr uint64_t scramble(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

constexpr uint64_t stream_seed(uint64_t seed, uint64_t index) {
  return scramble(seed + 0x9e3779b97f4a7c15ull * (index + 1));
}

constexpr uint64_t stream_seed(uint64_t seed, std::string_view name) {
  uint64_t hash = 14695981039346656037ull;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ull;
  return stream_seed(seed, hash);
}

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t next() { return scramble(state_ += 0x9e3779b97f4a7c15ull); }

  // Uniform in [0, limit); the bias of 2^-32 does no harm here. limit < 2^32.
  uint64_t below(uint64_t limit) { return ((next() >> 32) * limit) >> 32; }

  // Near enough to the normal distribution: four 16-bit uniforms summed, so |value| < 3.47. No libm, whose last bit
  // differs between machines.
  float gaussian() {
    const uint64_t x = next();
    const auto sum = static_cast<int32_t>((x & 0xffff) + (x >> 16 & 0xffff) + (x >> 32 & 0xffff) + (x >> 48));
    return static_cast<float>(sum - 131070) * (1.0f / 37837.227f);
  }

 private:
  uint64_t state_;
};

}  // namespace spillway::make_model
