// SPDX-License-Identifier: MIT
#include "model/tensor_role.h"

#include <charconv>

namespace spillway {
namespace {

bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

}  // namespace

const char* role_name(TensorRole role) {
  switch (role) {
    case TensorRole::kEmbedding:
      return "embedding";
    case TensorRole::kOutput:
      return "output";
    case TensorRole::kAttention:
      return "attention";
    case TensorRole::kFfn:
      return "ffn";
    case TensorRole::kExperts:
      return "experts";
    case TensorRole::kSharedExpert:
      return "shared-expert";
    case TensorRole::kRouter:
      return "router";
    case TensorRole::kNorm:
      return "norm";
    case TensorRole::kRecurrent:
      return "recurrent";
    case TensorRole::kOther:
      return "other";
  }
  return "other";
}

TensorRole role_of_tensor(std::string_view name) {
  if (contains(name, "_norm")) return TensorRole::kNorm;
  if (contains(name, "_exps.")) return TensorRole::kExperts;
  if (contains(name, "_shexp.") || contains(name, "_chexps.")) return TensorRole::kSharedExpert;
  if (contains(name, "ffn_gate_inp") || contains(name, "exp_probs")) return TensorRole::kRouter;
  if (contains(name, "token_embd") || contains(name, "position_embd") || contains(name, "token_types"))
    return TensorRole::kEmbedding;
  if (name.starts_with("output.") || name.starts_with("cls.")) return TensorRole::kOutput;
  if (contains(name, "ssm_") || contains(name, "time_mix") || contains(name, "shortconv"))
    return TensorRole::kRecurrent;
  if (contains(name, "attn") || contains(name, "cross_attn")) return TensorRole::kAttention;
  if (contains(name, "ffn_") || contains(name, "channel_mix")) return TensorRole::kFfn;
  return TensorRole::kOther;
}

int layer_of_tensor(std::string_view name) {
  const size_t at = name.find("blk.");
  if (at == std::string_view::npos) return -1;
  int layer = -1;
  const char* begin = name.data() + at + 4;
  const auto [end, code] = std::from_chars(begin, name.data() + name.size(), layer);
  return code == std::errc() && layer >= 0 ? layer : -1;
}

}  // namespace spillway
