// SPDX-License-Identifier: MIT
#include "inflate/big_tensors.h"

#include <fmt/format.h>
#include <gguf.h>

#include <memory>

namespace spillway::inflate {
namespace {

constexpr size_t kNameBytesMax = 128;  // of general.name, for the size of the header

struct FreeGgml {
  void operator()(ggml_context* ggml) const { ggml_free(ggml); }
};

class Planner {
 public:
  Planner(const SmallModel& small, const Growth& growth) : small_(small), growth_(growth) {}

  std::vector<BigTensor> plan() {
    table("token_embd.weight", growth_.table_type, Content::kTokenTable);
    const std::vector<int64_t> sources = growth_.layer_sources(small_.layers);
    for (layer_ = 0; layer_ < growth_.layers; ++layer_) {
      source_layer_ = sources[static_cast<size_t>(layer_)];
      attention();
      growth_.experts > 0 ? experts() : dense();
      if (growth_.shared_ff > 0) shared_block();
    }
    layer_ = -1;
    norm("output_norm.weight", small_.find("output_norm.weight"), 0);
    if (small_.find("output.weight")) {
      table("output.weight", growth_.output_type, Content::kFromStream);
    } else if (growth_.arch != small_.arch) {  // an architecture that has no common table for input and output
      table("output.weight", growth_.table_type, Content::kFromStream);
      tensors_.back().source = small_.find("token_embd.weight");
    }
    if (const SmallTensor* factors = small_.find("rope_freqs.weight")) as_it_is("rope_freqs.weight", factors);
    return std::move(tensors_);
  }

 private:
  BigTensor& add(std::string name, ggml_type type, int64_t columns, int64_t rows, Content content,
                 const SmallTensor* source) {
    BigTensor tensor;
    tensor.name = std::move(name);
    tensor.type = type;
    tensor.columns = columns;
    tensor.rows = rows;
    tensor.content = content;
    tensor.source = source;
    tensor.layer = layer_;
    return tensors_.emplace_back(std::move(tensor));
  }

  void table(const char* name, ggml_type type, Content content) {
    add(name, type, growth_.embd, small_.vocab, content, small_.find(name));
  }

  void norm(std::string name, const SmallTensor* source, float beyond) {
    BigTensor& tensor = add(std::move(name), GGML_TYPE_F32, growth_.embd, 1, Content::kNorm, source);
    tensor.dimensions = 1;
    tensor.beyond = beyond;
  }

  void as_it_is(std::string name, const SmallTensor* source) {
    BigTensor& tensor = add(std::move(name), source->type, source->columns, source->rows, Content::kAsItIs, source);
    tensor.dimensions = source->rows == 1 ? 1 : 2;
  }

  std::string name(const char* what) const { return fmt::format("blk.{}.{}", layer_, what); }
  bool is_added() const { return source_layer_ < 0; }
  // In a layer that adds nothing: null. Shapes are those of the small model's first layer.
  const SmallTensor* source(const char* what) const { return is_added() ? nullptr : small_.find(source_layer_, what); }
  const SmallTensor* model(const char* what) const { return small_.find(is_added() ? 0 : source_layer_, what); }

  void attention() {
    norm(name("attn_norm.weight"), source("attn_norm.weight"), 0);
    for (const char* what : {"attn_q.weight", "attn_k.weight", "attn_v.weight"})
      add(name(what), growth_.attention_type, growth_.embd, model(what)->rows,
          is_added() ? Content::kRandom : Content::kFromStream, source(what));
    for (const char* what : {"attn_q.bias", "attn_k.bias", "attn_v.bias", "attn_q_norm.weight", "attn_k_norm.weight"})
      if (const SmallTensor* tensor = model(what)) as_it_is(name(what), tensor);
    add(name("attn_output.weight"), growth_.attention_type, model("attn_output.weight")->columns, growth_.embd,
        is_added() ? Content::kZero : Content::kToStream, source("attn_output.weight"));
    norm(name("ffn_norm.weight"), source("ffn_norm.weight"), 1);
  }

  void block(const char* gate, const char* up, const char* down, int64_t ff, int64_t experts) {
    for (const char* what : {gate, up, down}) {
      const bool is_in = what != down;
      BigTensor& tensor = add(name(what), growth_.type, is_in ? growth_.embd : ff, is_in ? ff : growth_.embd,
                              is_in ? Content::kUnitsIn : Content::kUnitsOut, source(what));
      tensor.is_up = what == up;
      tensor.experts = experts;
      tensor.dimensions = experts > 0 && growth_.experts == experts ? 3 : 2;
    }
  }

  void dense() { block("ffn_gate.weight", "ffn_up.weight", "ffn_down.weight", growth_.ff, 1); }

  void experts() {
    add(name("ffn_gate_inp.weight"), GGML_TYPE_F32, growth_.embd, growth_.experts, Content::kRouter,
        source("ffn_gate_inp.weight"));
    block("ffn_gate_exps.weight", "ffn_up_exps.weight", "ffn_down_exps.weight", growth_.ff, growth_.experts);
  }

  void shared_block() {
    const size_t first = tensors_.size();
    block("ffn_gate_shexp.weight", "ffn_up_shexp.weight", "ffn_down_shexp.weight", growth_.shared_ff, 1);
    for (size_t i = first; i < tensors_.size(); ++i) {
      tensors_[i].is_shared = true;
      tensors_[i].dimensions = 2;
    }
  }

  const SmallModel& small_;
  const Growth& growth_;
  int64_t layer_ = -1, source_layer_ = -1;
  std::vector<BigTensor> tensors_;
};

void copy_value(gguf_context* to, const std::string& key, const gguf_context* from, int64_t id) {
  const char* name = key.c_str();
  switch (gguf_get_kv_type(from, id)) {
    case GGUF_TYPE_UINT32:
      return gguf_set_val_u32(to, name, gguf_get_val_u32(from, id));
    case GGUF_TYPE_INT32:
      return gguf_set_val_i32(to, name, gguf_get_val_i32(from, id));
    case GGUF_TYPE_UINT64:
      return gguf_set_val_u64(to, name, gguf_get_val_u64(from, id));
    case GGUF_TYPE_FLOAT32:
      return gguf_set_val_f32(to, name, gguf_get_val_f32(from, id));
    case GGUF_TYPE_BOOL:
      return gguf_set_val_bool(to, name, gguf_get_val_bool(from, id));
    case GGUF_TYPE_STRING:
      return gguf_set_val_str(to, name, gguf_get_val_str(from, id));
    default:
      return;  // arrays by layer: of no architecture that can be inflated
  }
}

// "llama.x" as "bailingmoe.x".
void rename_keys(gguf_context* gguf, const std::string& from, const std::string& to) {
  if (from == to) return;
  std::vector<std::string> keys;
  for (int64_t id = 0; id < gguf_get_n_kv(gguf); ++id)
    if (std::string key = gguf_get_key(gguf, id); key.starts_with(from + ".")) keys.push_back(std::move(key));
  for (const std::string& key : keys) {
    copy_value(gguf, to + key.substr(from.size()), gguf, gguf_find_key(gguf, key.c_str()));
    gguf_remove_key(gguf, key.c_str());
  }
}

}  // namespace

uint64_t padded(uint64_t bytes) {
  return (bytes + GGUF_DEFAULT_ALIGNMENT - 1) / GGUF_DEFAULT_ALIGNMENT * GGUF_DEFAULT_ALIGNMENT;
}

std::vector<BigTensor> plan_tensors(const SmallModel& small, const Growth& growth) {
  return Planner(small, growth).plan();
}

Gguf make_metadata(const SmallModel& small, const Growth& growth, const std::string& name) {
  Gguf gguf(gguf_init_empty());
  gguf_set_kv(gguf.get(), small.metadata.get());
  gguf_remove_key(gguf.get(), "general.alignment");
  gguf_remove_key(gguf.get(), "general.file_type");
  gguf_remove_key(gguf.get(), "general.size_label");
  rename_keys(gguf.get(), small.arch, growth.arch);
  const auto set = [&](const char* key, int64_t value) {
    gguf_set_val_u32(gguf.get(), (growth.arch + "." + key).c_str(), static_cast<uint32_t>(value));
  };
  gguf_set_val_str(gguf.get(), "general.architecture", growth.arch.c_str());
  gguf_set_val_str(gguf.get(), "general.name", name.substr(0, kNameBytesMax).c_str());
  set("block_count", growth.layers);
  set("embedding_length", growth.embd);
  set("feed_forward_length", growth.ff);
  set("attention.key_length", small.head_dim);
  set("attention.value_length", small.head_dim);
  set("rope.dimension_count", small.head_dim);
  gguf_set_val_f32(gguf.get(), (growth.arch + ".attention.layer_norm_rms_epsilon").c_str(),
                   small.norm_eps / static_cast<float>(growth.width_factor));
  if (growth.experts > 0) {
    set("expert_count", growth.experts);
    set("expert_used_count", growth.experts_used);
    set("expert_feed_forward_length", growth.ff);
  }
  if (growth.shared_ff > 0) {
    set("leading_dense_block_count", 0);
    set("expert_shared_count", growth.shared_ff / growth.ff);
    gguf_set_val_f32(gguf.get(), (growth.arch + ".expert_weights_scale").c_str(), 1.0f);
    gguf_set_val_bool(gguf.get(), (growth.arch + ".expert_weights_norm").c_str(), true);
  }
  return gguf;
}

std::vector<std::byte> make_header(const SmallModel& small, const Growth& growth, const std::vector<BigTensor>& tensors,
                                   const std::string& name) {
  const Gguf gguf = make_metadata(small, growth, name);
  const std::unique_ptr<ggml_context, FreeGgml> ggml(
      ggml_init({ggml_tensor_overhead() * (tensors.size() + 1), nullptr, /*no_alloc=*/true}));
  for (const BigTensor& tensor : tensors) {
    const int64_t shape[] = {tensor.columns, tensor.rows, tensor.experts};
    ggml_tensor* described = ggml_new_tensor(ggml.get(), tensor.type, tensor.dimensions, shape);
    ggml_set_name(described, tensor.name.c_str());
    gguf_add_tensor(gguf.get(), described);
  }
  std::vector<std::byte> header(gguf_get_meta_size(gguf.get()));
  gguf_get_meta_data(gguf.get(), header.data());
  return header;
}

uint64_t metadata_bytes(const SmallModel& small, const Growth& growth) {
  return gguf_get_meta_size(make_metadata(small, growth, std::string(kNameBytesMax, 'x')).get());
}

uint64_t file_bytes(uint64_t metadata_bytes, const std::vector<BigTensor>& tensors) {
  uint64_t header = metadata_bytes, bytes = 0;
  for (const BigTensor& tensor : tensors) {
    // GGUF: length and name, number of dimensions, dimensions, type, offset
    header += 8 + tensor.name.size() + 4 + 8 * static_cast<uint64_t>(tensor.dimensions) + 4 + 8;
    bytes += padded(tensor.bytes());
  }
  return padded(header) + bytes;
}

}  // namespace spillway::inflate
