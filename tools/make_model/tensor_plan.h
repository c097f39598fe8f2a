// SPDX-License-Identifier: MIT
// The tensors of a model before they have bytes: name, format, shape, and how their numbers are to be drawn.
#pragma once

#include <ggml.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "make_model/model_spec.h"
#include "make_model/type_mix.h"

namespace spillway::make_model {

enum class Fill {
  kPooled,     // runs of ready-made blocks (block_pool.h): the bulk
  kGaussian,   // drawn number by number: norms, biases, and other small F32 tensors
  kSigns,      // +mean or -mean at random
  kEmbedding,  // token embeddings with the structure that routing needs (routing.h)
  kRouter,     // the router of `layer` (routing.h)
};

struct TensorPlan {
  std::string name;
  ggml_type type = GGML_TYPE_F32;
  std::vector<int64_t> shape;  // [n_in][n_out][experts], innermost first as ggml has it
  Fill fill = Fill::kPooled;
  float mean = 0;
  float sigma = 0;
  int64_t layer = 0;
  int64_t quiet_rows = 0;  // this many rows at the start have quiet_sigma instead
  float quiet_sigma = 0;

  int64_t row_length() const { return shape[0]; }
  int64_t rows() const;
  uint64_t row_bytes() const { return ggml_row_size(type, row_length()); }
  uint64_t bytes() const { return row_bytes() * static_cast<uint64_t>(rows()); }
};

// All tensors of the model, in the order they have in the file.
std::vector<TensorPlan> plan_tensors(const ModelSpec& spec, const TypeMix& mix);

}  // namespace spillway::make_model
