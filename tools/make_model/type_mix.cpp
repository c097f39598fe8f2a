// SPDX-License-Identifier: MIT
#include "make_model/type_mix.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <optional>

namespace spillway::make_model {
namespace {

struct NamedType {
  const char* name;
  ggml_type type;
  uint32_t file_type;  // llama_ftype: llama.h is not needed for anything else here
};

// What ggml_quantize_chunk makes of plain floats, without an importance matrix.
constexpr NamedType kTypes[] = {
    {"F32", GGML_TYPE_F32, 0},      {"F16", GGML_TYPE_F16, 1},          {"BF16", GGML_TYPE_BF16, 32},
    {"Q8_0", GGML_TYPE_Q8_0, 7},    {"Q4_0", GGML_TYPE_Q4_0, 2},        {"Q4_1", GGML_TYPE_Q4_1, 3},
    {"Q5_0", GGML_TYPE_Q5_0, 8},    {"Q5_1", GGML_TYPE_Q5_1, 9},        {"Q2_K", GGML_TYPE_Q2_K, 10},
    {"Q3_K", GGML_TYPE_Q3_K, 11},   {"Q4_K", GGML_TYPE_Q4_K, 14},       {"Q5_K", GGML_TYPE_Q5_K, 16},
    {"Q6_K", GGML_TYPE_Q6_K, 18},   {"IQ4_NL", GGML_TYPE_IQ4_NL, 25},   {"IQ4_XS", GGML_TYPE_IQ4_XS, 30},
    {"IQ3_S", GGML_TYPE_IQ3_S, 26}, {"IQ3_XXS", GGML_TYPE_IQ3_XXS, 23}, {"IQ2_S", GGML_TYPE_IQ2_S, 28},
    {"MXFP4", GGML_TYPE_MXFP4, 38},
};

struct NamedMix {
  const char* name;
  ggml_type base, more_bits, output;
  ggml_type experts;  // COUNT: as the others
  uint32_t file_type;
};

constexpr NamedMix kMixes[] = {
    {"Q3_K_M", GGML_TYPE_Q3_K, GGML_TYPE_Q5_K, GGML_TYPE_Q6_K, GGML_TYPE_COUNT, 12},
    {"Q4_K_M", GGML_TYPE_Q4_K, GGML_TYPE_Q6_K, GGML_TYPE_Q6_K, GGML_TYPE_COUNT, 15},
    {"Q5_K_M", GGML_TYPE_Q5_K, GGML_TYPE_Q6_K, GGML_TYPE_Q6_K, GGML_TYPE_COUNT, 17},
    {"MXFP4_MOE", GGML_TYPE_Q8_0, GGML_TYPE_Q8_0, GGML_TYPE_Q8_0, GGML_TYPE_MXFP4, 38},
};

std::optional<NamedType> find_type(std::string_view name) {
  for (const NamedType& candidate : kTypes) {
    if (name == candidate.name) return candidate;
  }
  return std::nullopt;
}

// The first eighth of the layers, the last eighth and every third between: half of them, llama-quantize's choice.
bool gets_more_bits(int64_t layer, int64_t layers) {
  return layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;
}

bool fits(ggml_type type, int64_t n_in) { return n_in % ggml_blck_size(type) == 0; }

ggml_type fitting(ggml_type type, int64_t n_in) {
  if (fits(type, n_in)) return type;
  ggml_type neighbour = GGML_TYPE_IQ4_NL;
  if (type == GGML_TYPE_Q4_K) neighbour = GGML_TYPE_Q5_0;
  if (type == GGML_TYPE_Q5_K) neighbour = GGML_TYPE_Q5_1;
  if (type == GGML_TYPE_Q6_K) neighbour = GGML_TYPE_Q8_0;
  return fits(neighbour, n_in) ? neighbour : GGML_TYPE_F16;
}

}  // namespace

Expected<TypeMix> TypeMix::parse(std::string_view type, std::string_view type_down) {
  TypeMix mix;
  if (const auto plain = find_type(type)) {
    mix.base_ = mix.more_bits_ = mix.output_ = plain->type;
    mix.file_type_ = plain->file_type;
  } else {
    const NamedMix* found = nullptr;
    for (const NamedMix& candidate : kMixes) {
      if (type == candidate.name) found = &candidate;
    }
    if (!found) return failure(fmt::format("--type {}: not one of {}", type, fmt::join(type_names(), ", ")));
    mix.base_ = found->base;
    mix.more_bits_ = found->more_bits;
    mix.output_ = found->output;
    mix.experts_ = found->experts;
    mix.file_type_ = found->file_type;
  }
  if (!type_down.empty()) {
    const auto down = find_type(type_down);
    if (!down) return failure(fmt::format("--type-down {}: not a ggml type known here", type_down));
    mix.down_ = down->type;
  }
  return mix;
}

ggml_type TypeMix::type_of(Role role, bool is_expert, int64_t layer, int64_t layers, int64_t n_in) const {
  ggml_type type = base_;
  if (role == Role::kOutput) type = output_;
  if ((role == Role::kAttentionValue || role == Role::kFfnDown) && gets_more_bits(layer, layers)) type = more_bits_;
  if (is_expert && experts_ != GGML_TYPE_COUNT) type = experts_;
  if (role == Role::kFfnDown && down_ != GGML_TYPE_COUNT) type = down_;
  // Its rows are quantised one by one (zipf routing), and the IQ quantisers make only a few of those in a second.
  if (role == Role::kTokenEmbedding &&
      (type == GGML_TYPE_IQ2_S || type == GGML_TYPE_IQ3_S || type == GGML_TYPE_IQ3_XXS)) {
    type = GGML_TYPE_Q4_K;
  }
  return fitting(type, n_in);
}

std::vector<std::string> type_names() {
  std::vector<std::string> names;
  for (const NamedType& candidate : kTypes) names.emplace_back(candidate.name);
  for (const NamedMix& candidate : kMixes) names.emplace_back(candidate.name);
  return names;
}

}  // namespace spillway::make_model
