// SPDX-License-Identifier: MIT
// Which number format each matrix is stored in: one type for all, or one of the mixes that llama-quantize knows.
#pragma once

#include <ggml.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "make_model/error.h"

namespace spillway::make_model {

// What a matrix is for, as far as mixes tell matrices apart.
enum class Role { kTokenEmbedding, kOutput, kAttentionValue, kAttention, kFfn, kFfnDown };

class TypeMix {
 public:
  // `type`: a ggml type (Q4_K, F16, ...) or a mix (Q4_K_M, ...). `type_down`: a ggml type for the down matrices, or
  // empty.
  static Expected<TypeMix> parse(std::string_view type, std::string_view type_down);

  // Format of a matrix with rows of `n_in` numbers. Where these do not fill whole blocks, a neighbouring format that
  // fits, as llama-quantize does.
  ggml_type type_of(Role role, bool is_expert, int64_t layer, int64_t layers, int64_t n_in) const;

  uint32_t file_type() const { return file_type_; }  // general.file_type

 private:
  TypeMix() = default;

  ggml_type base_ = GGML_TYPE_F32;
  ggml_type more_bits_ = GGML_TYPE_F32;  // value and down matrices of the layers that matter most
  ggml_type output_ = GGML_TYPE_F32;
  ggml_type down_ = GGML_TYPE_COUNT;     // COUNT: not forced
  ggml_type experts_ = GGML_TYPE_COUNT;  // COUNT: as the others
  uint32_t file_type_ = 0;
};

// Names that parse() takes.
std::vector<std::string> type_names();

}  // namespace spillway::make_model
