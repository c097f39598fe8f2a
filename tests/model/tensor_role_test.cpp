// SPDX-License-Identifier: MIT
#include "model/tensor_role.h"

#include <gmock/gmock.h>

namespace spillway {
namespace {

TEST(TensorRole, FollowsLlamaCppsNames) {
  const std::pair<const char*, TensorRole> names[] = {
      {"token_embd.weight", TensorRole::kEmbedding},
      {"token_embd_norm.weight", TensorRole::kNorm},
      {"per_layer_token_embd.weight", TensorRole::kEmbedding},
      {"output.weight", TensorRole::kOutput},
      {"output_norm.weight", TensorRole::kNorm},
      {"blk.0.attn_q.weight", TensorRole::kAttention},
      {"blk.0.attn_output.weight", TensorRole::kAttention},
      {"blk.0.attn_q_norm.weight", TensorRole::kNorm},
      {"blk.3.ffn_up.weight", TensorRole::kFfn},
      {"blk.3.ffn_up_exps.weight", TensorRole::kExperts},
      {"blk.3.ffn_gate_up_exps.weight", TensorRole::kExperts},
      {"blk.3.ffn_down_shexp.weight", TensorRole::kSharedExpert},
      {"blk.3.ffn_gate_inp.weight", TensorRole::kRouter},
      {"blk.3.exp_probs_b.bias", TensorRole::kRouter},
      {"blk.3.ssm_in.weight", TensorRole::kRecurrent},
      {"rope_freqs.weight", TensorRole::kOther},
      {"", TensorRole::kOther},
  };
  for (const auto& [name, role] : names) EXPECT_STREQ(role_name(role_of_tensor(name)), role_name(role)) << name;
}

TEST(TensorRole, LayersAreNumbersBehindBlk) {
  const std::pair<const char*, int> names[] = {{"blk.0.attn_q.weight", 0},
                                               {"blk.127.ffn_up.weight", 127},
                                               {"enc.blk.3.attn_q.weight", 3},
                                               {"output.weight", -1},
                                               {"blk.", -1},
                                               {"blk.x.attn_q.weight", -1},
                                               {"blk.-1.attn_q.weight", -1},
                                               {"blk.99999999999.attn_q.weight", -1}};
  for (const auto& [name, layer] : names) EXPECT_EQ(layer_of_tensor(name), layer) << name;
}

}  // namespace
}  // namespace spillway
