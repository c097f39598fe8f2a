// SPDX-License-Identifier: MIT
#include "plan/model_need.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <string_view>

#include "base/bytes.h"
#include "base/saturating_sub.h"
#include "model/ggml_log.h"
#include "plan/tuning.h"

namespace spillway {
namespace {

// Beyond this a size is a mistake or an attack, and sums could overflow.
constexpr uint64_t kCtxMax = 1ull << 28;
constexpr uint32_t kSeqMax = 256;  // libllama's LLAMA_MAX_SEQ
constexpr uint32_t kUbatchMax = 1u << 20;
constexpr uint64_t kWidthMax = 1ull << 24;
constexpr uint64_t kLayersMax = 1ull << 12;
constexpr uint64_t kLayerBytesMax = 1ull << 48;
constexpr uint64_t kLiveMax = 1ull << 32;

constexpr uint64_t kCtxPadding = 256;

// libllama reserves its graphs, and the tables of its scheduler, for eight operations of each tensor, and 60
// descriptors of 368 bytes for each of those. A load counts this address space, though little of it is touched. For
// models of so many tensors it is part of kLoadedProgramBytes; with the 723 of Llama 3 70B a load took 70 MiB more.
constexpr uint64_t kTensorsUsual = 256;
constexpr uint64_t kGraphBytesPerTensor = 8 * 60 * 368;
// Pages of the libraries are among it, and how many of those are mapped is the page cache's doing: where 48 MiB were
// counted, a server once needed some more.
constexpr uint64_t kProgramBytes = 56 * MiB;

// A product that may be of any size, when the numbers are hostile.
uint64_t product(uint64_t a, uint64_t b, uint64_t max = kLayerBytesMax) {
  return b != 0 && a > max / b ? max : std::min(a * b, max);
}

uint64_t limited(int64_t value) { return static_cast<uint64_t>(std::clamp<int64_t>(value, 0, kWidthMax)); }

// Tensors of one layer by what follows "blk.N.".
using LayerTensors = std::map<std::string_view, const TensorInfo*>;

// Rows of a matrix; 0 when the layer does not have it.
uint64_t rows(const LayerTensors& layer, std::string_view name) {
  const auto found = layer.find(name);
  return found == layer.end() ? 0 : std::min(found->second->shape[1], kWidthMax);
}

std::vector<LayerTensors> by_layer(const GgufModel& model) {
  std::vector<LayerTensors> layers(std::min(model.n_layer, kLayersMax));
  for (const TensorInfo& tensor : model.tensors) {
    if (tensor.layer < 0 || static_cast<size_t>(tensor.layer) >= layers.size()) continue;
    const size_t dot = tensor.name.find('.', tensor.name.find("blk.") + 4);
    if (dot != std::string::npos)
      layers[static_cast<size_t>(tensor.layer)][std::string_view(tensor.name).substr(dot + 1)] = &tensor;
  }
  return layers;
}

bool any_named(const LayerTensors& layer, std::string_view prefix) {
  const auto at = layer.lower_bound(prefix);
  return at != layer.end() && at->first.starts_with(prefix);
}

// Makes text without looking back, so keeps no keys.
bool is_cacheless(const GgufModel& model) {
  static constexpr std::array kDiffusion = {"dream", "llada", "llada-moe", "rnd1"};
  return model.number("attention.causal", 1) == 0 ||
         std::find(kDiffusion.begin(), kDiffusion.end(), model.architecture) != kDiffusion.end();
}

// Layers whose window slides: by the model's own list where it has one, else every layer but each n-th.
class Windows {
 public:
  explicit Windows(const GgufModel& model)
      : model_(model), window_(limited(model.number("attention.sliding_window", 0))) {
    struct Period {
      std::string_view architecture;
      uint64_t layers;
    };
    static constexpr std::array kPeriods = {Period{"gemma2", 2},  Period{"gemma3", 6},  Period{"gemma3n", 5},
                                            Period{"gpt-oss", 2}, Period{"cohere2", 4}, Period{"exaone4", 4},
                                            Period{"olmo2", 4},   Period{"llama4", 4}};
    for (const Period& period : kPeriods)
      if (model.architecture == period.architecture) period_ = period.layers;
    if (model.architecture == "exaone4" && model.n_layer != 64) window_ = 0;  // the small ones have none
    if (model.architecture == "llama4" && window_ == 0) window_ = limited(model.number("attention.chunk_size", 8192));
    const int64_t own = model.number("attention.sliding_window_pattern", 0);
    if (own > 1) period_ = static_cast<uint64_t>(own);
    if (const auto found = model.numbers.find("attention.sliding_window_pattern");
        found != model.numbers.end() && found->second.size() > 1)
      listed_ = true;
  }
  bool any() const { return window_ > 0 && (period_ > 1 || listed_); }
  bool slides(size_t layer) const {
    if (!any()) return false;
    if (listed_) return model_.number_of_layer("attention.sliding_window_pattern", layer, 0) != 0;
    return layer % period_ < period_ - 1;
  }
  uint64_t tokens() const { return window_; }

 private:
  const GgufModel& model_;
  uint64_t window_;
  uint64_t period_ = 0;
  bool listed_ = false;
};

struct Widths {
  uint64_t key = 0, value = 0;  // of one token's row in the cache
};

bool is_listed_as_recurrent(const GgufModel& model, size_t layer) {
  const auto found = model.numbers.find("attention.recurrent_layers");
  return found != model.numbers.end() && found->second.size() > layer && found->second[layer] != 0;
}

// What one layer keeps of a token. The matrices tell where they can; heads and lengths tell for fused ones.
Widths cache_widths(const GgufModel& model, const LayerTensors& layer, size_t index) {
  const uint64_t n_head = limited(model.number_of_layer("attention.head_count", index, 0));
  const uint64_t n_head_kv =
      limited(model.number_of_layer("attention.head_count_kv", index, static_cast<int64_t>(n_head)));
  const auto head = static_cast<int64_t>(n_head > 0 ? std::min(model.n_embd, kWidthMax) / n_head : 0);
  const uint64_t key = limited(model.number("attention.key_length", head));
  const uint64_t value = limited(model.number("attention.value_length", head));
  if (const uint64_t compressed = rows(layer, "attn_kv_a_mqa.weight"); compressed > 0) {
    // Keys and values in one latent vector; older files split it per head again before caching.
    if (any_named(layer, "attn_k_b.")) return {compressed, 0};
    const uint64_t own_key = limited(model.number("attention.key_length_mla", 0));
    const uint64_t own_value = limited(model.number("attention.value_length_mla", 0));
    return {n_head * (own_key > 0 ? own_key : key), n_head * (own_value > 0 ? own_value : value)};
  }
  if (is_listed_as_recurrent(model, index) && any_named(layer, "attn_qkv.")) return {};
  // A recurrent layer's own inputs have the same names in some families.
  const bool recurrent = any_named(layer, "ssm_");
  if (recurrent && (limited(model.number("kda.head_dim", 0)) > 0 || any_named(layer, "attn_qkv."))) return {};
  if (const uint64_t k = rows(layer, "attn_k.weight"); k > 0) {
    const uint64_t v = rows(layer, "attn_v.weight");
    return {k, v > 0 ? v : k};
  }
  if (any_named(layer, "attn_qkv.")) return {n_head_kv * key, n_head_kv * value};
  return {};
}

// Of one sequence, in values of four bytes.
uint64_t state_values(const GgufModel& model, const LayerTensors& layer, size_t index) {
  const uint64_t n_embd = std::min(model.n_embd, kWidthMax);
  if (any_named(layer, "time_mix")) {  // RWKV: shifted tokens, and a matrix for each head
    const uint64_t head = limited(model.number("wkv.head_size", 64));
    return product(limited(model.number("token_shift_count", 2)) + head, n_embd);
  }
  if (any_named(layer, "shortconv"))
    return product(n_embd, std::max<uint64_t>(limited(model.number("shortconv.l_cache", 1)), 1) - 1);
  if (!any_named(layer, "ssm_")) {
    if (!is_listed_as_recurrent(model, index)) return 0;
    // Linear attention: a matrix of keys by values for each head.
    return product(
        product(limited(model.number("attention.head_count", 0)), limited(model.number("attention.key_length", 0))),
        limited(model.number("attention.value_length", 0)));
  }
  const uint64_t n_conv = std::max<uint64_t>(limited(model.number("ssm.conv_kernel", 1)), 1) - 1;
  if (const uint64_t head = limited(model.number("kda.head_dim", 0)); head > 0) {  // Kimi's delta attention
    const uint64_t n_head = limited(model.number("attention.head_count", 0));
    return product(product(n_head, head), 3 * n_conv + head);
  }
  const uint64_t inner = limited(model.number("ssm.inner_size", 0)), state = limited(model.number("ssm.state_size", 0));
  const uint64_t groups = limited(model.number("ssm.group_count", 0));
  return product(n_conv, inner + product(2 * groups, state)) + product(inner, state);
}

// Queries, keys and values of one token.
uint64_t attention_values(const GgufModel& model, const LayerTensors& layer) {
  const uint64_t q = std::max(rows(layer, "attn_q.weight"), rows(layer, "attn_q_b.weight"));
  uint64_t attention = 0;
  if (q > 0) attention = q + rows(layer, "attn_k.weight") + rows(layer, "attn_v.weight");
  if (const uint64_t qkv = rows(layer, "attn_qkv.weight"); qkv > 0) attention = qkv;
  if (const uint64_t latent = rows(layer, "attn_kv_a_mqa.weight"); latent > 0 && any_named(layer, "attn_k_b.")) {
    // The queries are taken into the latent space, a row of it for each head.
    const uint64_t n_head = limited(model.number("attention.head_count", 0));
    attention = 2 * q + 2 * n_head * latent;
  }
  return attention;
}

// Values that are live at once for one token, at the layer's worst moment. Found by asking libllama for the buffers of
// many shapes (exact for the families of docs/plan.md): the residual stream and what is on its way into it are 5 rows
// of n_embd; up, gate and their product 3 rows of the FFN; and a down projection that does not fit where up and gate
// were gets memory of its own.
uint64_t live_values(const GgufModel& model, const LayerTensors& layer) {
  const uint64_t n_embd = std::min(model.n_embd, kWidthMax);
  const uint64_t n_used = limited(static_cast<int64_t>(std::min<uint64_t>(model.n_expert_used, kWidthMax)));
  uint64_t ffn = 0;
  if (const uint64_t up = rows(layer, "ffn_up.weight"); up > 0) {
    if (any_named(layer, "ffn_gate."))
      ffn = 3 * up;
    else
      ffn = 2 * up;
  }
  uint64_t width = rows(layer, "ffn_up_exps.weight");
  if (width == 0) width = rows(layer, "ffn_gate_up_exps.weight") / 2;
  if (width > 0) {
    const uint64_t row = n_used * width;
    ffn = std::max(ffn, 3 * row + (n_embd > 2 * width ? n_used * n_embd : 0));
  }
  const uint64_t n_inner_rows = limited(model.number("ssm.group_count", 0)) > 0 ? 8 : 6;  // Mamba 2, Mamba
  const uint64_t inner = any_named(layer, "ssm_") ? n_inner_rows * limited(model.number("ssm.inner_size", 0)) : 0;
  return std::min(kLiveMax, 5 * n_embd + std::max({ffn, attention_values(model, layer), inner}));
}

// Of the layer's products, the values of the widest for one token.
uint64_t widest_product(const GgufModel& model, const LayerTensors& layer) {
  uint64_t widest = 0;
  for (const char* name : {"attn_q.weight", "attn_q_b.weight", "attn_qkv.weight", "ffn_up.weight", "ssm_in.weight"})
    widest = std::max(widest, rows(layer, name));
  const uint64_t n_used = std::min<uint64_t>(model.n_expert_used, kWidthMax);
  for (const char* name : {"ffn_up_exps.weight", "ffn_gate_up_exps.weight", "ffn_down_exps.weight"})
    widest = std::max(widest, std::min(kLiveMax, n_used * rows(layer, name)));
  return widest;
}

// What attention takes of a pass beside the tokens' own values, in bytes: without the fused kernel a number for each
// head, token and cell; with it, keys and values of 32 bits as a copy of 16.
uint64_t attention_bytes(const NeedOptions& options, bool is_fused, uint64_t n_head, uint64_t n_cells,
                         uint64_t n_streams, const Widths& widths) {
  if (!is_fused) return product(product(n_head, n_cells), 4 * options.n_ubatch);
  uint64_t copied = 0;
  if (options.cache.type_k == "f32") copied += widths.key;
  if (options.cache.type_v == "f32") copied += widths.value > 0 ? widths.value : widths.key;
  return product(product(n_cells, n_streams), 2 * copied);
}

Result<void> check(const GgufModel& model, const NeedOptions& options) {
  if (options.n_ctx == 0 || options.n_ctx > kCtxMax)
    return error(Code::kInvalidArgument,
                 fmt::format("a context of {} tokens is not possible; give 1 to {}", options.n_ctx, kCtxMax));
  if (options.n_seq == 0 || options.n_seq > kSeqMax)
    return error(Code::kInvalidArgument,
                 fmt::format("{} sequences at once are not possible; give 1 to {}", options.n_seq, kSeqMax));
  if (options.n_ubatch == 0 || options.n_ubatch > kUbatchMax)
    return error(Code::kInvalidArgument,
                 fmt::format("passes of {} tokens are not possible; give 1 to {}", options.n_ubatch, kUbatchMax));
  return check_cache_format(model, options.cache);
}

}  // namespace

uint64_t loaded_program_bytes(const GgufModel& model) {
  return kLoadedProgramBytes + saturating_sub(model.tensors.size(), kTensorsUsual) * kGraphBytesPerTensor;
}

Result<ModelNeed> model_need(const GgufModel& model, const NeedOptions& options) {
  RETURN_IF_ERROR(check(model, options));
  ModelNeed need;
  // Each stream is a cache of its own, and a pass looks at one of them at a time.
  const uint64_t n_streams = options.shared ? 1 : options.n_seq;
  const uint64_t n_stream_cells = round_up((options.n_ctx + n_streams - 1) / n_streams, kCtxPadding);
  const Windows windows(model);
  need.pass_shapes_cache = windows.any() && !options.swa_full;
  const uint64_t n_in_stream = options.shared ? options.n_seq : 1;
  const uint64_t n_window_stream_cells =
      options.swa_full
          ? n_stream_cells
          : std::min(n_stream_cells, round_up(windows.tokens() * n_in_stream + options.n_ubatch, kCtxPadding));
  const uint64_t n_cells_all = n_streams * n_stream_cells, n_window_cells_all = n_streams * n_window_stream_cells;

  const auto layers = by_layer(model);
  const auto n_layer = static_cast<int64_t>(layers.size());
  // Layers at the end that only draft, or look into the caches of earlier ones.
  const int64_t n_own = n_layer - static_cast<int64_t>(limited(model.number("nextn_predict_layers", 0)));
  const int64_t n_with_cache = n_own - static_cast<int64_t>(limited(model.number("attention.shared_kv_layers", 0)));
  const bool cacheless = is_cacheless(model);
  uint64_t live = 5 * std::min(model.n_embd, kWidthMax);
  bool any_full = false, any_sliding = false;
  const bool is_fused = options.cache.flash != FlashAttention::kOff && model.architecture != "grok";
  uint64_t in_attention = 0;
  for (int64_t i = 0; i < n_layer; ++i) {
    const auto index = static_cast<size_t>(i);
    LayerNeed layer;
    layer.state_bytes = i < n_own ? product(state_values(model, layers[index], index), 4 * options.n_seq) : 0;
    if (i < n_with_cache && !cacheless) {
      const Widths widths = cache_widths(model, layers[index], index);
      const uint64_t n_cells = windows.slides(index) ? n_window_cells_all : n_cells_all;
      const uint64_t index_width = rows(layers[index], "indexer.attn_k.weight");
      layer.kv_bytes = product(n_cells, cache_row_bytes(options.cache.type_k, widths.key) +
                                            cache_row_bytes(options.cache.type_v, widths.value) +
                                            cache_row_bytes(options.cache.type_k, index_width));
      if (widths.key > 0) {
        (windows.slides(index) ? any_sliding : any_full) = true;
        const uint64_t n_attended = windows.slides(index) ? n_window_stream_cells : n_stream_cells;
        const uint64_t n_head = limited(model.number_of_layer("attention.head_count", index, 0));
        const uint64_t values = 5 * std::min(model.n_embd, kWidthMax) + attention_values(model, layers[index]);
        in_attention =
            std::max(in_attention, options.n_ubatch * std::min(kLiveMax, values) * 4 +
                                       attention_bytes(options, is_fused, n_head, n_attended, n_streams, widths));
      }
    }
    uint64_t layer_live = live_values(model, layers[index]);
    // What an adapter adds to a product lies beside it, before it is added.
    if (options.adapter_bytes > 0) layer_live += widest_product(model, layers[index]);
    live = std::max(live, layer_live);
    need.kv_bytes += layer.kv_bytes;
    need.state_bytes += layer.state_bytes;
    need.layers.push_back(layer);
  }

  const uint64_t n_vocab = std::min(model.n_vocab, kWidthMax);
  const uint64_t n_outputs = std::min<uint64_t>(options.n_outputs > 0 ? options.n_outputs : options.n_seq,
                                                std::max(options.n_ubatch, options.n_seq));
  const uint64_t mask_cells = (any_full ? n_stream_cells : 0) + (any_sliding ? n_window_stream_cells : 0);
  const uint64_t masks = options.n_ubatch * mask_cells * (is_fused ? 2 : 4);
  const uint64_t in_layers = std::max(options.n_ubatch * live * 4, in_attention) + masks;
  const uint64_t at_the_end = options.n_ubatch * (5 * std::min(model.n_embd, kWidthMax) * 4) + n_outputs * n_vocab * 4;
  need.compute_bytes = std::max(in_layers, at_the_end);
  need.output_bytes = n_outputs * n_vocab * 4;
  need.program_bytes = kProgramBytes + n_vocab * kVocabularyBytesPerToken + options.n_ubatch * live * 2 +
                       std::min(options.adapter_bytes, kLayerBytesMax) +
                       std::min(options.projector_bytes, kLayerBytesMax);
  return need;
}

}  // namespace spillway
