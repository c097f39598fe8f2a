// SPDX-License-Identifier: MIT
// Names and shapes are libllama's (src/models/*.cpp there). The scales keep a signal alive over any depth: matrices
// preserve variance (1/sqrt(n_in)), and all layers together add about as much as the embedding brought
// (layer_gain), so the residual stream neither explodes nor forgets its token.
#include "make_model/tensor_plan.h"

#include <fmt/format.h>

#include <cmath>

#include "make_model/tokenizer.h"

namespace spillway::make_model {
namespace {

constexpr float kNormNoise = 0.05f;
constexpr float kBiasSigma = 0.05f;
constexpr float kLogitSigma = 3.0f;  // wide enough that sampling prefers some tokens, as a trained model does

class Planner {
 public:
  Planner(const ModelSpec& spec, const TypeMix& mix)
      : spec_(spec), mix_(mix), layer_gain_(1.0f / std::sqrt(static_cast<float>(spec.layers))) {}

  std::vector<TensorPlan> plan() {
    plan_embedding();
    for (layer_ = 0; layer_ < spec_.layers; ++layer_) {
      plan_attention();
      if (!spec_.is_moe() || spec_.arch == Arch::kGemma4) plan_ffn();
      if (spec_.is_moe()) plan_experts();
      if (spec_.arch == Arch::kGemma4) plan_layer_end();
    }
    // Files have such layers on both sides of the output matrix: the last one stands behind it, at the end.
    const int64_t end = spec_.layers + spec_.draft_layers;
    for (; layer_ + 1 < end; ++layer_) plan_draft();
    layer_ = 0;
    plan_output();
    layer_ = end - 1;
    if (spec_.draft_layers > 0) plan_draft();
    return std::move(tensors_);
  }

 private:
  void plan_embedding() {
    // gemma multiplies embeddings by sqrt(embd) itself.
    const float sigma = is_gemma() ? 1.0f / std::sqrt(static_cast<float>(spec_.embd)) : 1.0f;
    TensorPlan& embedding = matrix("token_embd.weight", Role::kTokenEmbedding, {spec_.embd, spec_.vocab});
    embedding.sigma = sigma;
    if (is_gemma()) hush_special_tokens(embedding, sigma / 4);
    if (spec_.is_moe() && spec_.routing == Routing::kZipf) embedding.fill = Fill::kEmbedding;
    if (spec_.arch != Arch::kGemma4) return;
    gaussian("rope_freqs.weight", {wide_head_size(spec_) / 2}, 1, kNormNoise);
    const int64_t width = layer_embedding_width(spec_);
    if (width == 0) return;
    matrix("per_layer_token_embd.weight", Role::kTokenEmbedding, {width * spec_.layers, spec_.vocab});
    matrix("per_layer_model_proj.weight", Role::kAttention, {spec_.embd, width * spec_.layers});
    gaussian("per_layer_proj_norm.weight", {width}, 1, kNormNoise);
  }

  void plan_attention() {
    const bool is_wide = head_is_wide(spec_, layer_);
    const int64_t head_width = is_wide ? wide_head_size(spec_) : spec_.head_size();
    const int64_t q_width = spec_.heads * head_width;
    const int64_t kv_width = spec_.kv_heads * head_width;
    const bool has_qkv_bias =
        spec_.arch == Arch::kQwen2 || spec_.arch == Arch::kQwen2Moe || spec_.arch == Arch::kGptOss;
    norm("attn_norm");
    matrix(in_layer("attn_q.weight"), Role::kAttention, {spec_.embd, q_width});
    matrix(in_layer("attn_k.weight"), Role::kAttention, {spec_.embd, kv_width});
    // Wide ones take their keys for values.
    if (!is_wide) matrix(in_layer("attn_v.weight"), Role::kAttentionValue, {spec_.embd, kv_width});
    if (has_qkv_bias) {
      gaussian(in_layer("attn_q.bias"), {q_width}, 0, kBiasSigma);
      gaussian(in_layer("attn_k.bias"), {kv_width}, 0, kBiasSigma);
      gaussian(in_layer("attn_v.bias"), {kv_width}, 0, kBiasSigma);
    }
    if (spec_.arch == Arch::kQwen3Moe || is_gemma()) {
      gaussian(in_layer("attn_q_norm.weight"), {head_width}, 1, kNormNoise);
      gaussian(in_layer("attn_k_norm.weight"), {head_width}, 1, kNormNoise);
    }
    matrix(in_layer("attn_output.weight"), Role::kAttention, {q_width, spec_.embd}).sigma *= layer_gain_;
    if (spec_.arch == Arch::kGptOss) {
      gaussian(in_layer("attn_output.bias"), {spec_.embd}, 0, kBiasSigma * layer_gain_);
      gaussian(in_layer("attn_sinks.weight"), {spec_.heads}, 0, 1);
    }
    if (is_gemma())
      gaussian(in_layer("post_attention_norm.weight"), {spec_.embd}, layer_gain_, kNormNoise * layer_gain_);
    norm(spec_.arch == Arch::kGptOss || is_glm() ? "post_attention_norm" : "ffn_norm");
  }

  void plan_ffn() {
    matrix(in_layer("ffn_gate.weight"), Role::kFfn, {spec_.embd, spec_.ff});
    matrix(in_layer("ffn_up.weight"), Role::kFfn, {spec_.embd, spec_.ff});
    matrix(in_layer("ffn_down.weight"), Role::kFfnDown, {spec_.ff, spec_.embd}).sigma *= layer_gain_;
    if (is_gemma()) gaussian(in_layer("post_ffw_norm.weight"), {spec_.embd}, layer_gain_, kNormNoise * layer_gain_);
  }

  void plan_experts() {
    const int64_t width = spec_.expert_width();
    TensorPlan& router = gaussian(in_layer("ffn_gate_inp.weight"), {spec_.embd, spec_.experts}, 0,
                                  1.0f / std::sqrt(static_cast<float>(spec_.embd)));
    if (spec_.routing == Routing::kZipf) router.fill = Fill::kRouter;
    if (spec_.arch == Arch::kGemma4) {
      gaussian(in_layer("ffn_gate_inp.scale"), {spec_.embd}, 1, kNormNoise);
      for (const char* name : {"pre_ffw_norm_2", "post_ffw_norm_1", "post_ffw_norm_2"}) norm(name);
      matrix(in_layer("ffn_gate_up_exps.weight"), Role::kFfn, {spec_.embd, 2 * width, spec_.experts});
    } else {
      matrix(in_layer("ffn_gate_exps.weight"), Role::kFfn, {spec_.embd, width, spec_.experts});
      matrix(in_layer("ffn_up_exps.weight"), Role::kFfn, {spec_.embd, width, spec_.experts});
    }
    matrix(in_layer("ffn_down_exps.weight"), Role::kFfnDown, {width, spec_.embd, spec_.experts}).sigma *= layer_gain_;
    if (spec_.arch == Arch::kGptOss) {
      gaussian(in_layer("ffn_gate_inp.bias"), {spec_.experts}, 0, kBiasSigma);
      gaussian(in_layer("ffn_gate_exps.bias"), {width, spec_.experts}, 0, kBiasSigma);
      gaussian(in_layer("ffn_up_exps.bias"), {width, spec_.experts}, 0, kBiasSigma);
      gaussian(in_layer("ffn_down_exps.bias"), {spec_.embd, spec_.experts}, 0, kBiasSigma * layer_gain_);
    }
    if (is_glm()) gaussian(in_layer("exp_probs_b.bias"), {spec_.experts}, 0, kBiasSigma);
    if (spec_.arch == Arch::kQwen2Moe || is_glm()) plan_shared_expert();
  }

  void plan_shared_expert() {
    const int64_t width = is_glm() ? spec_.expert_width() : spec_.shared_ff > 0 ? spec_.shared_ff : spec_.ff;
    if (!is_glm())
      gaussian(in_layer("ffn_gate_inp_shexp.weight"), {spec_.embd}, 0,
               1.0f / std::sqrt(static_cast<float>(spec_.embd)));
    matrix(in_layer("ffn_gate_shexp.weight"), Role::kFfn, {spec_.embd, width});
    matrix(in_layer("ffn_up_shexp.weight"), Role::kFfn, {spec_.embd, width});
    matrix(in_layer("ffn_down_shexp.weight"), Role::kFfnDown, {width, spec_.embd}).sigma *= layer_gain_;
  }

  // What gemma4 adds behind the FFN.
  void plan_layer_end() {
    if (const int64_t width = layer_embedding_width(spec_); width > 0) {
      matrix(in_layer("inp_gate.weight"), Role::kAttention, {spec_.embd, width});
      matrix(in_layer("proj.weight"), Role::kAttention, {width, spec_.embd});
      gaussian(in_layer("post_norm.weight"), {spec_.embd}, layer_gain_, kNormNoise * layer_gain_);
    }
    gaussian(in_layer("layer_output_scale.weight"), {1}, 1, 0);
  }

  // A whole layer, and what makes a token of it.
  void plan_draft() {
    plan_attention();
    plan_experts();
    matrix(in_layer("nextn.eh_proj.weight"), Role::kAttention, {2 * spec_.embd, spec_.embd});
    matrix(in_layer("nextn.embed_tokens.weight"), Role::kTokenEmbedding, {spec_.embd, spec_.vocab});
    matrix(in_layer("nextn.shared_head_head.weight"), Role::kOutput, {spec_.embd, spec_.vocab});
    for (const char* name : {"nextn.enorm", "nextn.hnorm", "nextn.shared_head_norm"}) norm(name);
  }

  void plan_output() {
    if (is_gemma()) {
      // The output is the embedding matrix again, so a token would mostly predict itself. Random signs in the last norm
      // make the two uncorrelated.
      gaussian("output_norm.weight", {spec_.embd}, kLogitSigma, 0).fill = Fill::kSigns;
      return;
    }
    gaussian("output_norm.weight", {spec_.embd}, 1, kNormNoise);
    TensorPlan& output = matrix("output.weight", Role::kOutput, {spec_.embd, spec_.vocab});
    output.sigma *= kLogitSigma;
    hush_special_tokens(output, 0);
  }

  // Control and byte tokens score far below the best of the others: what the model says stays printable.
  void hush_special_tokens(TensorPlan& output, float sigma) const {
    if (!spec_.tokenizer) return;
    output.quiet_rows = kFirstPiece;
    output.quiet_sigma = sigma;
  }

  TensorPlan& matrix(std::string name, Role role, std::vector<int64_t> shape) {
    TensorPlan tensor;
    tensor.name = std::move(name);
    tensor.type = mix_.type_of(role, shape.size() == 3, layer_, spec_.layers, shape[0]);
    tensor.sigma = 1.0f / std::sqrt(static_cast<float>(shape[0]));
    tensor.shape = std::move(shape);
    tensor.layer = layer_;
    return tensors_.emplace_back(std::move(tensor));
  }

  // F32 whatever the mix says: too small to quantise.
  TensorPlan& gaussian(std::string name, std::vector<int64_t> shape, float mean, float sigma) {
    TensorPlan tensor;
    tensor.name = std::move(name);
    tensor.shape = std::move(shape);
    tensor.fill = Fill::kGaussian;
    tensor.mean = mean;
    tensor.sigma = sigma;
    tensor.layer = layer_;
    return tensors_.emplace_back(std::move(tensor));
  }

  void norm(std::string_view name) { gaussian(in_layer(fmt::format("{}.weight", name)), {spec_.embd}, 1, kNormNoise); }
  std::string in_layer(std::string_view name) const { return fmt::format("blk.{}.{}", layer_, name); }
  bool is_glm() const { return spec_.arch == Arch::kGlm4Moe; }
  bool is_gemma() const { return spec_.arch == Arch::kGemma3 || spec_.arch == Arch::kGemma4; }

  const ModelSpec& spec_;
  const TypeMix& mix_;
  const float layer_gain_;
  int64_t layer_ = 0;
  std::vector<TensorPlan> tensors_;
};

}  // namespace

int64_t TensorPlan::rows() const {
  int64_t count = 1;
  for (size_t dim = 1; dim < shape.size(); ++dim) count *= shape[dim];
  return count;
}

std::vector<TensorPlan> plan_tensors(const ModelSpec& spec, const TypeMix& mix) { return Planner(spec, mix).plan(); }

}  // namespace spillway::make_model
