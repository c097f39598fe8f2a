// SPDX-License-Identifier: MIT
#include "inflate/small_model.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <set>
#include <utility>

#include "inflate/exact_encoding.h"
#include "model/gguf_model.h"

namespace spillway::inflate {
namespace {

// All of these normalize with RMSNorm and gate their feed-forward blocks with SiLU, and nothing else depends on the
// width of the residual stream or the number of layers.
constexpr std::array kArchs = {"llama", "qwen2", "qwen3", "qwen3moe"};

// What a layer may hold; another tensor would do something that the larger model has to know of.
const std::set<std::string> kLayerTensors = {
    "attn_norm.weight",     "attn_q.weight",      "attn_k.weight",       "attn_v.weight",      "attn_q.bias",
    "attn_k.bias",          "attn_v.bias",        "attn_q_norm.weight",  "attn_k_norm.weight", "attn_output.weight",
    "ffn_norm.weight",      "ffn_gate.weight",    "ffn_up.weight",       "ffn_down.weight",    "ffn_gate_inp.weight",
    "ffn_gate_exps.weight", "ffn_up_exps.weight", "ffn_down_exps.weight"};
const std::set<std::string> kOtherTensors = {"token_embd.weight", "output.weight", "output_norm.weight",
                                             "rope_freqs.weight"};

// "attn_q.weight" of "blk.3.attn_q.weight".
std::string name_in_layer(const std::string& name) {
  const size_t dot = name.find('.', 4);
  return name.starts_with("blk.") && dot != std::string::npos ? name.substr(dot + 1) : "";
}

Expected<void> check_tensor(const TensorInfo& info) {
  const bool is_known =
      info.layer >= 0 ? kLayerTensors.contains(name_in_layer(info.name)) : kOtherTensors.contains(info.name);
  if (!is_known) return failure(fmt::format("how '{}' grows is not known", info.name));
  return {};
}

Expected<ggml_type> type_named(const std::string& name) {
  for (int type = 0; type < GGML_TYPE_COUNT; ++type) {
    const auto candidate = static_cast<ggml_type>(type);
    const char* known = ggml_blck_size(candidate) > 0 ? ggml_type_name(candidate) : nullptr;
    if (known && name == known && (candidate == GGML_TYPE_F32 || ggml_get_type_traits(candidate)->to_float))
      return candidate;
  }
  return failure(fmt::format("the number format {} cannot be read", name));
}

Expected<SmallTensor> read_tensor(const TensorInfo& info, std::ifstream& file) {
  if (auto known = check_tensor(info); !known) return failure(known.error());
  const auto type = type_named(info.type);
  if (!type) return failure(fmt::format("{}: {}", info.name, type.error()));
  SmallTensor tensor{info.name,
                     *type,
                     static_cast<int64_t>(info.shape[0]),
                     static_cast<int64_t>(info.shape[1]),
                     static_cast<int64_t>(info.shape[2]),
                     std::vector<std::byte>(info.range.bytes)};
  if (info.shape[3] != 1) return failure(fmt::format("how '{}' with four dimensions grows is not known", info.name));
  file.seekg(static_cast<std::streamoff>(info.range.offset));
  file.read(reinterpret_cast<char*>(tensor.bytes.data()), static_cast<std::streamsize>(tensor.bytes.size()));
  if (!file) return failure(fmt::format("'{}' could not be read", info.name));
  return tensor;
}

// Each matrix has the size that the metadata says: what is copied later is inside of it.
Expected<void> check_shapes(const SmallModel& model) {
  const auto expect = [&](const std::string& name, int64_t columns, int64_t rows, int64_t experts) -> Expected<void> {
    const SmallTensor* tensor = model.find(name);
    if (!tensor) return failure(fmt::format("'{}' is missing", name));
    if (tensor->columns == columns && (rows == 0 || tensor->rows == rows) && tensor->experts == experts) return {};
    return failure(fmt::format("'{}' has the shape [{}][{}][{}], its metadata says otherwise", name, tensor->experts,
                               tensor->rows, tensor->columns));
  };
  std::vector<Expected<void>> checks = {expect("token_embd.weight", model.embd, model.vocab, 1),
                                        expect("output_norm.weight", model.embd, 1, 1)};
  if (model.find("output.weight")) checks.push_back(expect("output.weight", model.embd, model.vocab, 1));
  for (int64_t layer = 0; layer < model.layers; ++layer) {
    const std::string blk = fmt::format("blk.{}.", layer);
    for (const char* norm : {"attn_norm.weight", "ffn_norm.weight"})
      checks.push_back(expect(blk + norm, model.embd, 1, 1));
    for (const char* in : {"attn_q.weight", "attn_k.weight", "attn_v.weight"})
      checks.push_back(expect(blk + in, model.embd, 0, 1));
    checks.push_back(expect(blk + "attn_output.weight", model.heads * model.head_dim, model.embd, 1));
    const std::string suffix = model.is_dense() ? ".weight" : "_exps.weight";
    const int64_t experts = model.is_dense() ? 1 : model.experts;
    checks.push_back(expect(blk + "ffn_gate" + suffix, model.embd, model.ff, experts));
    checks.push_back(expect(blk + "ffn_up" + suffix, model.embd, model.ff, experts));
    checks.push_back(expect(blk + "ffn_down" + suffix, model.ff, model.embd, experts));
    if (!model.is_dense()) checks.push_back(expect(blk + "ffn_gate_inp.weight", model.embd, model.experts, 1));
  }
  for (const auto& check : checks)
    if (!check) return check;
  return {};
}

float norm_eps_of(const gguf_context* gguf, const std::string& arch) {
  const int64_t key = gguf_find_key(gguf, (arch + ".attention.layer_norm_rms_epsilon").c_str());
  return key >= 0 && gguf_get_kv_type(gguf, key) == GGUF_TYPE_FLOAT32 ? gguf_get_val_f32(gguf, key) : 0;
}

Expected<SmallModel> read_model(const std::string& path) {
  auto facts = open_gguf_model(path);
  if (!facts) return failure(facts.error().message());
  if (facts->files.size() != 1)
    return failure(fmt::format("{}: in several files; join them with llama-gguf-split --merge", path));
  SmallModel model;
  model.arch = facts->architecture;
  if (std::find(kArchs.begin(), kArchs.end(), model.arch) == kArchs.end())
    return failure(fmt::format("{}: architecture '{}' cannot be inflated; those that can: {}", path, model.arch,
                               fmt::join(supported_archs(), ", ")));
  model.metadata.reset(gguf_init_from_file(path.c_str(), {/*no_alloc=*/true, /*ctx=*/nullptr}));
  if (!model.metadata) return failure(fmt::format("{}: ggml cannot read its metadata", path));
  model.embd = static_cast<int64_t>(facts->n_embd);
  model.layers = static_cast<int64_t>(facts->n_layer);
  model.experts = static_cast<int64_t>(facts->n_expert);
  model.experts_used = static_cast<int64_t>(facts->n_expert_used);
  model.vocab = static_cast<int64_t>(facts->n_vocab);
  model.heads = facts->number("attention.head_count", 0);
  model.ff = facts->number("expert_feed_forward_length", facts->number("feed_forward_length", 0));
  model.norm_eps = norm_eps_of(model.metadata.get(), model.arch);
  if (model.embd < 1 || model.layers < 1 || model.heads < 1 || model.ff < 1 || model.norm_eps <= 0)
    return failure(fmt::format("{}: its metadata lacks the shape of the model", path));
  model.head_dim = facts->number("attention.key_length", model.embd / model.heads);
  if (model.experts > 0 && (model.experts_used < 1 || model.experts_used > model.experts))
    return failure(fmt::format("{}: uses {} of {} experts", path, model.experts_used, model.experts));
  std::ifstream file(path, std::ios::binary);
  for (const TensorInfo& info : facts->tensors) {
    auto tensor = read_tensor(info, file);
    if (!tensor) return failure(fmt::format("{}: {}", path, tensor.error()));
    if (info.name == "token_embd.weight") model.vocab = tensor->rows;
    model.tensors.emplace(info.name, std::move(*tensor));
  }
  if (auto right = check_shapes(model); !right) return failure(fmt::format("{}: {}", path, right.error()));
  return model;
}

}  // namespace

std::vector<float> SmallTensor::row(int64_t expert, int64_t index) const {
  const size_t row_bytes = ggml_row_size(type, columns);
  return decode(type, bytes.data() + static_cast<size_t>(expert * rows + index) * row_bytes, columns);
}

const SmallTensor* SmallModel::find(const std::string& name) const {
  const auto found = tensors.find(name);
  return found == tensors.end() ? nullptr : &found->second;
}

const SmallTensor* SmallModel::find(int64_t layer, const std::string& name) const {
  return find(fmt::format("blk.{}.{}", layer, name));
}

Expected<SmallModel> SmallModel::read(const std::string& path) { return read_model(path); }

std::vector<std::string> supported_archs() { return {kArchs.begin(), kArchs.end()}; }

}  // namespace spillway::inflate
