// SPDX-License-Identifier: MIT
#include "inflate/exact_encoding.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <numeric>

namespace spillway::inflate {
namespace {

constexpr std::array kTypes = {GGML_TYPE_Q4_0, GGML_TYPE_Q4_K, GGML_TYPE_Q4_1, GGML_TYPE_Q5_0,
                               GGML_TYPE_Q5_K, GGML_TYPE_Q5_1, GGML_TYPE_Q6_K, GGML_TYPE_Q8_0,
                               GGML_TYPE_F16,  GGML_TYPE_BF16, GGML_TYPE_F32};

constexpr int kSuperblock = 256;
constexpr int64_t kWholeMax = int64_t{1} << 40;  // beyond that no product of scale and step fits any type

// Numbers as whole multiples of 2^exponent.
struct Whole {
  std::array<int64_t, kSuperblock> values{};
  int exponent = 0;
};

std::optional<Whole> whole_multiples(std::span<const float> numbers) {
  Whole whole;
  bool is_first = true;
  for (const float number : numbers) {
    if (!std::isfinite(number)) return std::nullopt;
    if (number == 0) continue;
    int exponent = 0;
    auto mantissa = static_cast<int64_t>(std::ldexp(std::frexp(number, &exponent), 24));
    exponent -= 24;
    while (mantissa % 2 == 0) {
      mantissa /= 2;
      ++exponent;
    }
    whole.exponent = is_first ? exponent : std::min(whole.exponent, exponent);
    is_first = false;
  }
  for (size_t i = 0; i < numbers.size(); ++i) {
    const double value = std::ldexp(static_cast<double>(numbers[i]), -whole.exponent);
    if (std::abs(value) > static_cast<double>(kWholeMax)) return std::nullopt;
    whole.values[i] = static_cast<int64_t>(value);
  }
  return whole;
}

// The largest step of which all are whole multiples; 0 when all are 0.
int64_t step_of(std::span<const int64_t> values) {
  int64_t step = 0;
  for (const int64_t value : values) step = std::gcd(step, value);
  return step;
}

// `value` * 2^exponent as a half, bit for bit, if a half can be that.
std::optional<ggml_fp16_t> exact_half(int64_t value, int exponent) {
  const double wanted = std::ldexp(static_cast<double>(value), exponent);
  if (std::abs(wanted) > 65504) return std::nullopt;
  const ggml_fp16_t half = ggml_fp32_to_fp16(static_cast<float>(wanted));
  if (static_cast<double>(ggml_fp16_to_fp32(half)) != wanted) return std::nullopt;
  return half;
}

void put(std::span<std::byte> out, size_t at, const auto& value) { std::memcpy(out.data() + at, &value, sizeof value); }

// ---- blocks of 32: one scale ----

struct Block32 {
  std::array<int, 32> steps{};  // number = steps * scale
  ggml_fp16_t scale = 0;
};

struct Range {
  int64_t low, high;
  bool holds(int64_t least, int64_t most) const { return least >= low && most <= high; }
};

// Steps within `range`. A scale may be negative, where a range is not the same on both sides of 0.
std::optional<Block32> block_of_32(std::span<const float> numbers, Range range) {
  const auto whole = whole_multiples(numbers);
  if (!whole) return std::nullopt;
  const std::span values(whole->values.data(), 32);
  const int64_t step = step_of(values);
  Block32 block;
  if (step == 0) return block;
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  // A step of more digits than a half has may be a multiple of the scale that the numbers were made with.
  for (int64_t factor = 1; factor <= range.high - range.low; ++factor) {
    if (step % factor != 0) continue;
    for (const int64_t part : {step / factor, -(step / factor)}) {
      const int64_t first = *least / part, last = *most / part;
      const auto scale = exact_half(part, whole->exponent);
      if (!scale || !range.holds(std::min(first, last), std::max(first, last))) continue;
      block.scale = *scale;
      for (size_t i = 0; i < 32; ++i) block.steps[i] = static_cast<int>(values[i] / part);
      return block;
    }
  }
  return std::nullopt;
}

bool encode_q8_0(std::span<const float> numbers, std::span<std::byte> out) {
  const auto block = block_of_32(numbers, {-127, 127});
  if (!block) return false;
  put(out, 0, block->scale);
  for (size_t i = 0; i < 32; ++i) out[2 + i] = static_cast<std::byte>(block->steps[i]);
  return true;
}

// q4_0, q4_1, q5_0, q5_1: 4 or 5 bits from 0 on. The _0 types subtract half of the range, the _1 types add a minimum.
bool encode_bits(std::span<const float> numbers, std::span<std::byte> out, int bits, bool has_minimum) {
  const int half_range = 1 << (bits - 1);
  const auto block = block_of_32(numbers, {-half_range, half_range - 1});
  if (!block) return false;
  put(out, 0, block->scale);
  size_t at = 2;
  if (has_minimum) {  // a power of two times the scale: as exact, if it is not too large
    put(out, at, ggml_fp32_to_fp16(static_cast<float>(-half_range) * ggml_fp16_to_fp32(block->scale)));
    at += 2;
  }
  uint32_t fifth_bits = 0;
  std::array<uint8_t, 16> low_bits{};
  for (size_t i = 0; i < 32; ++i) {
    const auto value = static_cast<uint32_t>(block->steps[i] + half_range);
    low_bits[i % 16] = static_cast<uint8_t>(low_bits[i % 16] | (value & 15) << (i < 16 ? 0 : 4));
    fifth_bits |= (value >> 4) << i;
  }
  if (bits == 5) {
    put(out, at, fifth_bits);
    at += 4;
  }
  put(out, at, low_bits);
  return true;
}

// ---- superblocks of 256: a scale for each part, and one for the scales ----

struct Superblock {
  std::array<int, kSuperblock> steps{};  // number = steps * scale of the part * scale
  std::array<int, 16> part_scales{};
  ggml_fp16_t scale = 0;
};

// One part: its steps, as multiples of `scale_step` times its own scale.
bool scale_part(std::span<const int64_t> values, int64_t scale_step, Range range, Range scales, int& scale,
                std::span<int> steps) {
  const int64_t step = step_of(values);
  if (step == 0) return true;
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  const int64_t multiple = step / scale_step;
  for (int64_t factor = 1; factor <= range.high - range.low; ++factor) {
    if (multiple % factor != 0) continue;
    for (const int64_t part : {multiple / factor, -(multiple / factor)}) {
      const int64_t first = *least / (part * scale_step), last = *most / (part * scale_step);
      if (!scales.holds(part, part) || !range.holds(std::min(first, last), std::max(first, last))) continue;
      scale = static_cast<int>(part);
      for (size_t i = 0; i < values.size(); ++i) steps[i] = static_cast<int>(values[i] / (part * scale_step));
      return true;
    }
  }
  return false;
}

std::optional<Superblock> superblock(std::span<const float> numbers, size_t part, Range range, Range scales) {
  const auto whole = whole_multiples(numbers);
  if (!whole) return std::nullopt;
  const int64_t step = step_of(whole->values);
  if (step == 0) return Superblock{};
  const auto is_possible = [&](int64_t scale_step, Superblock& block) {
    for (size_t p = 0; p < kSuperblock / part; ++p)
      if (!scale_part(std::span(whole->values).subspan(p * part, part), scale_step, range, scales, block.part_scales[p],
                      std::span(block.steps).subspan(p * part, part)))
        return false;
    return true;
  };
  for (int64_t factor = 1; factor <= scales.high; ++factor) {
    if (step % factor != 0) continue;
    const auto scale = exact_half(step / factor, whole->exponent);
    Superblock block;
    if (!scale || !is_possible(step / factor, block)) continue;
    block.scale = *scale;
    return block;
  }
  return std::nullopt;
}

// Scales and minima of eight parts, six bits each, as q4_K and q5_K pack them into twelve bytes.
std::array<uint8_t, 12> pack_six_bits(const std::array<int, 16>& scales) {
  std::array<uint8_t, 12> packed{};
  for (size_t j = 0; j < 4; ++j) {
    const auto early = static_cast<unsigned>(scales[j]), late = static_cast<unsigned>(scales[j + 4]);
    packed[j] = static_cast<uint8_t>(early | (late >> 4) << 6);
    packed[j + 4] = packed[j];  // the minima are as many steps as the scales
    packed[j + 8] = static_cast<uint8_t>((late & 15) | (late & 15) << 4);
  }
  return packed;
}

// q4_K, q5_K: number = scale * value - minimum, with the minimum at half of the range times the scale.
bool encode_k_bits(std::span<const float> numbers, std::span<std::byte> out, int bits) {
  const int half_range = 1 << (bits - 1);
  const auto block = superblock(numbers, 32, {-half_range, half_range - 1}, {0, 63});
  if (!block) return false;
  std::array<uint8_t, 32> fifth_bits{};
  std::array<uint8_t, 128> low_bits{};
  for (size_t i = 0; i < kSuperblock; ++i) {
    const auto value = static_cast<unsigned>(block->steps[i] + half_range);
    const size_t chunk = i / 64, half = i / 32 % 2, column = i % 32;
    uint8_t& low = low_bits[chunk * 32 + column];
    low = static_cast<uint8_t>(low | (value & 15) << (half == 0 ? 0 : 4));
    fifth_bits[column] = static_cast<uint8_t>(fifth_bits[column] | (value >> 4) << (2 * chunk + half));
  }
  put(out, 0, block->scale);
  put(out, 2, ggml_fp32_to_fp16(static_cast<float>(half_range) * ggml_fp16_to_fp32(block->scale)));
  put(out, 4, pack_six_bits(block->part_scales));
  if (bits == 5) put(out, 16, fifth_bits);
  put(out, bits == 5 ? 48 : 16, low_bits);
  return true;
}

bool encode_q6_k(std::span<const float> numbers, std::span<std::byte> out) {
  const auto block = superblock(numbers, 16, {-32, 31}, {-127, 127});
  if (!block) return false;
  std::array<uint8_t, 128> low{};
  std::array<uint8_t, 64> high{};
  for (size_t i = 0; i < kSuperblock; ++i) {
    const auto value = static_cast<unsigned>(block->steps[i] + 32);
    const size_t half = i / 128, quarter = i / 32 % 4, column = i % 32;
    uint8_t& l = low[half * 64 + (quarter % 2) * 32 + column];
    l = static_cast<uint8_t>(l | (value & 15) << (quarter < 2 ? 0 : 4));
    uint8_t& h = high[half * 32 + column];
    h = static_cast<uint8_t>(h | (value >> 4) << (2 * quarter));
  }
  put(out, 0, low);
  put(out, 128, high);
  for (size_t p = 0; p < 16; ++p) out[192 + p] = static_cast<std::byte>(block->part_scales[p]);
  put(out, 208, block->scale);
  return true;
}

bool encode_block(ggml_type type, std::span<const float> numbers, std::span<std::byte> out) {
  switch (type) {
    case GGML_TYPE_F32:
      std::memcpy(out.data(), numbers.data(), out.size());
      return true;
    case GGML_TYPE_F16:
      ggml_fp32_to_fp16_row(numbers.data(), reinterpret_cast<ggml_fp16_t*>(out.data()),
                            static_cast<int64_t>(numbers.size()));
      return true;
    case GGML_TYPE_BF16:
      ggml_fp32_to_bf16_row(numbers.data(), reinterpret_cast<ggml_bf16_t*>(out.data()),
                            static_cast<int64_t>(numbers.size()));
      return true;
    case GGML_TYPE_Q8_0:
      return encode_q8_0(numbers, out);
    case GGML_TYPE_Q4_0:
      return encode_bits(numbers, out, 4, false);
    case GGML_TYPE_Q4_1:
      return encode_bits(numbers, out, 4, true);
    case GGML_TYPE_Q5_0:
      return encode_bits(numbers, out, 5, false);
    case GGML_TYPE_Q5_1:
      return encode_bits(numbers, out, 5, true);
    case GGML_TYPE_Q4_K:
      return encode_k_bits(numbers, out, 4);
    case GGML_TYPE_Q5_K:
      return encode_k_bits(numbers, out, 5);
    case GGML_TYPE_Q6_K:
      return encode_q6_k(numbers, out);
    default:
      return false;
  }
}

}  // namespace

std::span<const ggml_type> exact_types() { return kTypes; }

std::optional<ggml_type> parse_exact_type(const std::string& name) {
  const auto is_same = [](char a, char b) {
    return std::tolower(static_cast<unsigned char>(a)) == std::tolower(static_cast<unsigned char>(b));
  };
  for (const ggml_type type : kTypes) {
    const std::string_view known = ggml_type_name(type);
    if (std::equal(name.begin(), name.end(), known.begin(), known.end(), is_same)) return type;
  }
  return std::nullopt;
}

bool encode_exactly(ggml_type type, std::span<const float> numbers, std::span<std::byte> out) {
  const auto block = static_cast<size_t>(ggml_blck_size(type));
  const size_t block_bytes = ggml_type_size(type);
  for (size_t done = 0, at = 0; done < numbers.size(); done += block, at += block_bytes)
    if (!encode_block(type, numbers.subspan(done, block), out.subspan(at, block_bytes))) return false;
  const std::vector<float> back = decode(type, out.data(), static_cast<int64_t>(numbers.size()));
  return std::equal(numbers.begin(), numbers.end(), back.begin());
}

std::vector<float> decode(ggml_type type, const void* data, int64_t count) {
  std::vector<float> numbers(static_cast<size_t>(count));
  if (type == GGML_TYPE_F32) {
    std::memcpy(numbers.data(), data, numbers.size() * sizeof(float));
  } else {
    ggml_get_type_traits(type)->to_float(data, numbers.data(), count);
  }
  return numbers;
}

}  // namespace spillway::inflate
