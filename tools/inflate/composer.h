// SPDX-License-Identifier: MIT
// The bytes of the large model, row by row: the small model's numbers, zeros, and random numbers between them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "inflate/big_tensors.h"
#include "inflate/growth.h"
#include "inflate/pieces.h"
#include "inflate/small_model.h"
#include "make_model/block_pool.h"

namespace spillway::inflate {

// What kGranule units of a feed-forward block are.
struct Granule {
  enum class Kind {
    kLive,         // the small model's
    kNotRead,      // computed, but down is zero for them
    kNotComputed,  // up is zero, so that their product is, whatever down holds
  };
  Kind kind = Kind::kNotRead;
  int64_t piece = 0;  // kLive: which part of the small model's units
};

// Which expert of the small model one of the large model's is, and which part of it.
struct ExpertOrigin {
  int64_t expert = 0, copy = 0, part = 0;
};

// For one thread. Both models must outlive it.
class Composer {
 public:
  Composer(const SmallModel& small, const Growth& growth, const std::vector<BigTensor>& tensors, uint64_t seed);

  // Row `row` of all rows of all experts; out.size() == tensor.row_bytes().
  void compose(const BigTensor& tensor, int64_t row, std::span<std::byte> out);

  // The units of one expert (0 for a dense or shared block), in order.
  const std::vector<Granule>& layout(const BigTensor& tensor, int64_t expert);
  ExpertOrigin origin(int64_t layer, int64_t expert) const;

 private:
  const Pieces& pieces(const BigTensor& tensor) const;
  void compose_table(const BigTensor& tensor, int64_t row, std::span<std::byte> out) const;
  void compose_router(const BigTensor& tensor, int64_t row, std::span<std::byte> out) const;
  void compose_units_in(const BigTensor& tensor, int64_t row, std::span<std::byte> out);
  void compose_units_out(const BigTensor& tensor, int64_t row, std::span<std::byte> out);
  void fill_randomly(const BigTensor& tensor, int64_t row, std::span<std::byte> out) const;
  std::vector<Granule> make_layout(const BigTensor& tensor, int64_t expert) const;

  const SmallModel& small_;
  const Growth& growth_;
  const uint64_t seed_;
  std::map<std::pair<const SmallTensor*, ggml_type>, Pieces> pieces_;
  std::map<ggml_type, make_model::BlockPool> pools_;
  std::map<int64_t, std::vector<std::byte>> token_numbers_;  // the added dimensions' bytes, by copy
  std::vector<std::vector<int64_t>> expert_order_;           // [layer][expert]
  std::pair<std::string, int64_t> layout_of_;                // layer and expert that layout_ is for
  std::vector<Granule> layout_;
};

}  // namespace spillway::inflate
