// SPDX-License-Identifier: MIT
// The large model's tensors, in file order: names, types, shapes and what goes in. Pure.
#pragma once

#include <ggml.h>

#include <cstdint>
#include <string>
#include <vector>

#include "inflate/growth.h"
#include "inflate/small_model.h"

namespace spillway::inflate {

enum class Content {
  kTokenTable,  // the small model's rows, each followed by its token's number
  kFromStream,  // rows read the residual stream: the small model's, zeros for the added dimensions
  kToStream,    // rows write it: the small model's, none for the added dimensions
  kNorm,        // weights of a norm over the stream, scaled; `beyond` for the added dimensions
  kRouter,      // the experts' rows, and for copies the weight that puts the others out of the question
  kUnitsIn,     // gate or up: a row per unit
  kUnitsOut,    // down: a column per unit
  kAsItIs,      // the same in both models
  kRandom,      // of a layer that adds nothing
  kZero,        // what makes it add nothing
};

struct BigTensor {
  std::string name;
  ggml_type type = GGML_TYPE_F32;
  int64_t columns = 0, rows = 0, experts = 1;
  int dimensions = 2;
  Content content = Content::kZero;
  const SmallTensor* source = nullptr;  // absent in layers that add nothing
  int64_t layer = -1;                   // of the large model
  bool is_up = false;                   // kUnitsIn: up, not gate
  bool is_shared = false;  // kUnitsIn, kUnitsOut: of the block that every token uses, none of it the small model's
  float beyond = 0;        // kNorm

  uint64_t row_bytes() const { return ggml_row_size(type, columns); }
  uint64_t bytes() const { return row_bytes() * static_cast<uint64_t>(rows * experts); }
};

std::vector<BigTensor> plan_tensors(const SmallModel& small, const Growth& growth);

// The metadata for them: the small model's, with the shape of the large one.
Gguf make_metadata(const SmallModel& small, const Growth& growth, const std::string& name);

// Size of the file, header and tensors with their padding, at most; `metadata_bytes` is what make_metadata() takes.
uint64_t file_bytes(uint64_t metadata_bytes, const std::vector<BigTensor>& tensors);
uint64_t metadata_bytes(const SmallModel& small, const Growth& growth);

// The header's bytes, as they stand in front of the tensors.
std::vector<std::byte> make_header(const SmallModel& small, const Growth& growth, const std::vector<BigTensor>& tensors,
                                   const std::string& name);

uint64_t padded(uint64_t bytes);  // to GGUF's alignment

}  // namespace spillway::inflate
