// SPDX-License-Identifier: MIT
// What a model is made of, for people and for plans: parameters, those that one token uses, number formats, sizes by
// role. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/gguf_model.h"

namespace spillway {

struct TypeShare {
  std::string type;
  uint64_t bytes = 0, n_params = 0;
};

struct RoleShare {
  TensorRole role = TensorRole::kOther;
  uint64_t bytes = 0, n_tensors = 0;
};

struct ModelFacts {
  uint64_t n_params = 0;         // that are used
  uint64_t n_params_active = 0;  // that one token is multiplied with
  double active_bytes = 0;       // their bytes
  std::vector<TypeShare> types;  // most bytes first
  std::vector<RoleShare> roles;  // most bytes first
  double bits_per_weight = 0;
  // Of tensors that nothing uses; in none of the figures above.
  uint64_t unused_bytes = 0, n_unused = 0;
};

ModelFacts model_facts(const GgufModel& model);

// The number format that most of the weights have.
std::string dominant_type(const GgufModel& model);

// Experts that one token uses, as plans count them: at least 1.
uint64_t experts_used(const GgufModel& model);

// A table of which single rows are read, not a matrix: an embedding that is not the output matrix too.
bool is_row_table(const GgufModel& model, const TensorInfo& tensor);

// The share of a tensor that one token is multiplied with: 0 for a row table, used / all for experts, else 1.
double active_share(const GgufModel& model, const TensorInfo& tensor);

// The mean size of the matrices that one token is multiplied with; of experts, one of them.
uint64_t typical_matrix_bytes(const GgufModel& model);

uint64_t n_values(const TensorInfo& tensor);

}  // namespace spillway
