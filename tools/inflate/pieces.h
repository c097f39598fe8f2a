// SPDX-License-Identifier: MIT
// A small model's matrix in another type, cut where the large model puts something between.
#pragma once

#include <ggml.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "inflate/small_model.h"

namespace spillway::inflate {

// Down matrices are read along the units, which lie apart in the large model; the others along the residual stream.
bool is_units_out(const SmallTensor& tensor);

// [experts][rows][pieces]. A row that is read along the stream is one piece; one along the units is cut into pieces of
// kGranule units for each part of its expert, the last of a part filled up with zeros.
class Pieces {
 public:
  std::span<const std::byte> piece(int64_t expert, int64_t row, int64_t index) const {
    const auto number = static_cast<size_t>((expert * rows_ + row) * pieces_ + index);
    return std::span(bytes_).subspan(number * piece_bytes_, piece_bytes_);
  }
  int64_t count() const { return pieces_; }  // in a row

 private:
  friend std::optional<Pieces> encode_pieces(const SmallTensor& tensor, ggml_type type, float factor);

  int64_t rows_ = 0, pieces_ = 0;
  size_t piece_bytes_ = 0;
  std::vector<std::byte> bytes_;
};

// The numbers times `factor`, a power of two; a down matrix is cut for as many parts. nullopt where `type` cannot hold
// them exactly. Blocks of the same type, unscaled and uncut, are taken as they are.
std::optional<Pieces> encode_pieces(const SmallTensor& tensor, ggml_type type, float factor);

}  // namespace spillway::inflate
