// SPDX-License-Identifier: MIT
// Numbers in ggml's block types without any rounding: either a block holds exactly what it was given, or there is no
// block.
//
// ggml's own quantizers look for the least error, which is seldom none, even for numbers that came out of such a block.
// Here a block's numbers are taken as whole multiples of their greatest common divisor: its scale is that or a fraction
// of it. Every block is read back through ggml before it is believed.
#pragma once

#include <ggml.h>

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace spillway::inflate {

// The types that encode_exactly() writes, smallest first.
std::span<const ggml_type> exact_types();

// "q4_K" in ggml's spelling, whatever the case; nullopt for a type that exact_types() lacks.
std::optional<ggml_type> parse_exact_type(const std::string& name);

// numbers.size() is a multiple of the type's block length. False, and `out` is undefined, where a block can not hold
// its numbers exactly. out.size() == ggml_row_size(type, numbers.size()).
bool encode_exactly(ggml_type type, std::span<const float> numbers, std::span<std::byte> out);

// Any of ggml's types, `count` numbers from `data` on.
std::vector<float> decode(ggml_type type, const void* data, int64_t count);

}  // namespace spillway::inflate
