// SPDX-License-Identifier: MIT
// Writes the bytes of a GGUF file, right or wrong in any field. Not through gguf.h, which writes only right ones.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace spillway {

// The numbers of the format, as files carry them.
enum class GgufType : uint32_t {
  kU8 = 0,
  kU16 = 2,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10
};

class GgufBytes {
 public:
  struct Tensor {
    std::string name;
    std::vector<int64_t> shape;
    uint32_t type = 0;                              // 0: F32; 8: Q8_0, 34 bytes for 32 values
    std::optional<uint64_t> offset = std::nullopt;  // in the data; behind the tensor before when not given
  };

  uint32_t magic = 0x46554747, version = 3;
  std::optional<uint64_t> n_tensors, n_keys;  // claimed in the header; the true counts when not given
  std::optional<uint64_t> data_bytes;         // written; all that the tensors need when not given

  GgufBytes& key(std::string_view name, std::string_view value) {
    begin_key(name, GgufType::kString);
    add_string(keys_, value);
    return *this;
  }
  GgufBytes& key_u32(std::string_view name, uint32_t value) { return key_of(name, GgufType::kU32, value); }
  GgufBytes& key_u16(std::string_view name, uint16_t value) { return key_of(name, GgufType::kU16, value); }
  GgufBytes& key_u64(std::string_view name, uint64_t value) { return key_of(name, GgufType::kU64, value); }
  GgufBytes& key_i32(std::string_view name, int32_t value) { return key_of(name, GgufType::kI32, value); }
  GgufBytes& key_f32(std::string_view name, float value) { return key_of(name, GgufType::kF32, value); }
  GgufBytes& key_bool(std::string_view name, bool value) { return key_of(name, GgufType::kBool, value); }
  GgufBytes& key_u32s(std::string_view name, const std::vector<uint32_t>& values) {
    begin_key(name, GgufType::kArray);
    add(keys_, GgufType::kU32);
    add(keys_, uint64_t{values.size()});
    for (const uint32_t value : values) add(keys_, value);
    return *this;
  }
  GgufBytes& key_strings(std::string_view name, const std::vector<std::string>& values) {
    begin_key(name, GgufType::kArray);
    add(keys_, GgufType::kString);
    add(keys_, uint64_t{values.size()});
    for (const std::string& value : values) add_string(keys_, value);
    return *this;
  }
  // An array that claims `count` elements of `type` and has none.
  GgufBytes& key_array_claim(std::string_view name, GgufType type, uint64_t count) {
    begin_key(name, GgufType::kArray);
    add(keys_, type);
    add(keys_, count);
    return *this;
  }
  // A text that claims `bytes` and has none.
  GgufBytes& key_text_claim(std::string_view name, uint64_t bytes) {
    begin_key(name, GgufType::kString);
    add(keys_, bytes);
    return *this;
  }
  GgufBytes& tensor(Tensor one) {
    tensors_.push_back(std::move(one));
    return *this;
  }

  std::string bytes() const {
    std::string out;
    add(out, magic);
    add(out, version);
    add(out, n_tensors.value_or(tensors_.size()));
    add(out, n_keys.value_or(n_keys_));
    out += keys_;
    uint64_t end = 0;
    for (const Tensor& one : tensors_) {
      uint64_t values = 1;
      for (const int64_t n : one.shape) values *= static_cast<uint64_t>(n);
      const uint64_t offset = one.offset.value_or(end), bytes = one.type == 8 ? values / 32 * 34 : values * 4;
      end = (offset + bytes + 31) / 32 * 32;
      add_string(out, one.name);
      add(out, static_cast<uint32_t>(one.shape.size()));
      for (const int64_t n : one.shape) add(out, n);
      add(out, one.type);
      add(out, offset);
    }
    out.resize((out.size() + 31) / 32 * 32);
    for (uint64_t i = 0; i < data_bytes.value_or(end); ++i) out += static_cast<char>(i * 37);
    return out;
  }

 private:
  template <typename T>
  static void add(std::string& to, T value) {
    char raw[sizeof value];
    std::memcpy(raw, &value, sizeof value);
    to.append(raw, sizeof raw);
  }
  static void add_string(std::string& to, std::string_view value) {
    add(to, uint64_t{value.size()});
    to += value;
  }
  void begin_key(std::string_view name, GgufType type) {
    ++n_keys_;
    add_string(keys_, name);
    add(keys_, type);
  }
  template <typename T>
  GgufBytes& key_of(std::string_view name, GgufType type, T value) {
    begin_key(name, type);
    add(keys_, value);
    return *this;
  }

  std::string keys_;
  uint64_t n_keys_ = 0;
  std::vector<Tensor> tensors_;
};

// A small mixture of experts with what a real one has: two layers, 4 experts of which 2 are used, an embedding.
inline GgufBytes small_moe() {
  GgufBytes model;
  model.key("general.architecture", "qwen3moe")
      .key("general.name", "Small")
      .key_u32("qwen3moe.block_count", 2)
      .key_u32("qwen3moe.embedding_length", 32)
      .key_u64("qwen3moe.context_length", 4096)
      .key_u32("qwen3moe.expert_count", 4)
      .key_u16("qwen3moe.expert_used_count", 2)
      .key_f32("qwen3moe.attention.layer_norm_rms_epsilon", 1e-6f)
      .key("tokenizer.ggml.model", "gpt2")
      .key_strings("tokenizer.ggml.tokens", {"a", "b", "c", "<|end|>"})
      .tensor({"token_embd.weight", {32, 64}, 8});
  for (const char* layer : {"blk.0.", "blk.1."})
    model.tensor({std::string(layer) + "attn_q.weight", {32, 32}, 8})
        .tensor({std::string(layer) + "attn_norm.weight", {32}})
        .tensor({std::string(layer) + "ffn_gate_inp.weight", {32, 4}})
        .tensor({std::string(layer) + "ffn_up_exps.weight", {32, 64, 4}, 8});
  return model.tensor({"output.weight", {32, 64}});
}

}  // namespace spillway
