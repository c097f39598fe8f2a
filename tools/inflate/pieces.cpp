// SPDX-License-Identifier: MIT
#include "inflate/pieces.h"

#include <algorithm>

#include "inflate/exact_encoding.h"
#include "inflate/growth.h"

namespace spillway::inflate {
namespace {

// [pieces][numbers of a piece], zeros where a part ends inside of a piece.
std::vector<float> cut(const std::vector<float>& row, int64_t parts) {
  const auto part = static_cast<int64_t>(row.size()) / parts;
  const int64_t pieces = (part + kGranule - 1) / kGranule;
  std::vector<float> numbers(static_cast<size_t>(parts * pieces * kGranule));
  for (int64_t p = 0; p < parts; ++p)
    std::copy_n(row.begin() + p * part, part, numbers.begin() + p * pieces * kGranule);
  return numbers;
}

}  // namespace

bool is_units_out(const SmallTensor& tensor) { return tensor.name.find("ffn_down") != std::string::npos; }

std::optional<Pieces> encode_pieces(const SmallTensor& tensor, ggml_type type, float factor) {
  Pieces pieces;
  const bool is_cut = is_units_out(tensor);
  const int64_t parts = is_cut ? static_cast<int64_t>(factor) : 1;
  const int64_t piece_columns = is_cut ? kGranule : tensor.columns;
  pieces.rows_ = tensor.rows;
  pieces.pieces_ = is_cut ? parts * ((tensor.columns / parts + kGranule - 1) / kGranule) : 1;
  pieces.piece_bytes_ = ggml_row_size(type, piece_columns);
  if (type == tensor.type && factor == 1 && (!is_cut || tensor.columns % kGranule == 0)) {
    pieces.bytes_ = tensor.bytes;
    return pieces;
  }
  const size_t row_bytes = pieces.piece_bytes_ * static_cast<size_t>(pieces.pieces_);
  pieces.bytes_.resize(row_bytes * static_cast<size_t>(tensor.rows * tensor.experts));
  for (int64_t row = 0; row < tensor.rows * tensor.experts; ++row) {
    std::vector<float> numbers = tensor.row(row / tensor.rows, row % tensor.rows);
    for (float& number : numbers) number *= factor;
    if (is_cut) numbers = cut(numbers, parts);
    if (!encode_exactly(type, numbers,
                        std::span(pieces.bytes_).subspan(static_cast<size_t>(row) * row_bytes, row_bytes)))
      return std::nullopt;
  }
  return pieces;
}

}  // namespace spillway::inflate
