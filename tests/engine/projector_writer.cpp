// SPDX-License-Identifier: MIT
#include "engine/projector_writer.h"

#include <fmt/format.h>
#include <ggml.h>

#include <array>
#include <cmath>
#include <initializer_list>
#include <memory>
#include <random>

namespace spillway {
namespace {

constexpr uint64_t kMergedPatches = 4;  // of each side of a square, Gemma 3; Qwen2-VL: 2

class MadeProjector {
 public:
  explicit MadeProjector(const ProjectorSpec& spec)
      : spec_(spec),
        context_(ggml_init({.mem_size = 512u << 20, .mem_buffer = nullptr, .no_alloc = false}), ggml_free),
        gguf_(gguf_init_empty(), gguf_free),
        random_(spec.seed) {}

  bool write(const std::string& path) {
    keys();
    patches();
    for (uint32_t layer = 0; layer < spec_.n_layer; ++layer) block(fmt::format("v.blk.{}.", layer));
    projection();
    if (spec_.change_keys) spec_.change_keys(gguf_.get());
    return gguf_write_to_file(gguf_.get(), path.c_str(), false);
  }

 private:
  void text(const char* key, const char* value) { gguf_set_val_str(gguf_.get(), key, value); }
  void number(const char* key, uint32_t value) { gguf_set_val_u32(gguf_.get(), key, value); }
  void flag(const char* key) { gguf_set_val_bool(gguf_.get(), key, true); }

  const char* type_name() const {
    switch (spec_.shape) {
      case ProjectorShape::kLlava:
        return "mlp";
      case ProjectorShape::kGemma3:
        return "gemma3";
      case ProjectorShape::kQwen2Vl:
        return "qwen2vl_merger";
    }
    return "";
  }

  void keys() {
    text("general.type", "mmproj");
    text("general.architecture", "clip");
    text("clip.projector_type", type_name());
    flag("clip.has_vision_encoder");
    flag("clip.use_gelu");
    number("clip.vision.image_size", spec_.image_size);
    number("clip.vision.patch_size", spec_.patch_size);
    number("clip.vision.embedding_length", spec_.n_embd);
    number("clip.vision.feed_forward_length", spec_.n_ff);
    number("clip.vision.block_count", spec_.n_layer);
    number("clip.vision.attention.head_count", spec_.n_head);
    number("clip.vision.projection_dim", spec_.n_embd_text);
    gguf_set_val_f32(gguf_.get(), "clip.vision.attention.layer_norm_epsilon", 1e-5f);
    constexpr std::array<float, 3> kMiddle = {0.5f, 0.5f, 0.5f};
    for (const char* key : {"clip.vision.image_mean", "clip.vision.image_std"})
      gguf_set_arr_data(gguf_.get(), key, GGUF_TYPE_FLOAT32, kMiddle.data(), kMiddle.size());
  }

  void tensor(const std::string& name, std::initializer_list<int64_t> shape, float middle = 0) {
    ggml_tensor* made =
        ggml_new_tensor(context_.get(), GGML_TYPE_F32, static_cast<int>(shape.size()), std::data(shape));
    const float size = shape.size() > 1 ? 2.0f / std::sqrt(static_cast<float>(*shape.begin())) : 0.1f;
    std::uniform_real_distribution<float> any(middle - size, middle + size);
    auto* values = static_cast<float*>(made->data);
    for (int64_t i = 0; i < ggml_nelements(made); ++i) values[i] = any(random_);
    ggml_set_name(made, name.c_str());
    if (name != spec_.leave_out) gguf_add_tensor(gguf_.get(), made);
  }
  void norm(const std::string& name, uint32_t width) {
    tensor(name + ".weight", {width}, 1);
    tensor(name + ".bias", {width});
  }
  void linear(const std::string& name, int64_t n_in, int64_t n_out) {
    tensor(name + ".weight", {n_in, n_out});
    tensor(name + ".bias", {n_out});
  }

  void patches() {
    const int64_t side = spec_.image_size / spec_.patch_size, patch = spec_.patch_size;
    tensor("v.patch_embd.weight", {patch, patch, 3, spec_.n_embd});
    if (spec_.shape == ProjectorShape::kQwen2Vl) {
      tensor("v.patch_embd.weight.1", {patch, patch, 3, spec_.n_embd});
    } else {
      tensor("v.position_embd.weight", {spec_.n_embd, side * side});
    }
    norm("v.post_ln", spec_.n_embd);
  }

  void block(const std::string& name) {
    for (const char* part : {"attn_q", "attn_k", "attn_v", "attn_out"}) linear(name + part, spec_.n_embd, spec_.n_embd);
    norm(name + "ln1", spec_.n_embd);
    norm(name + "ln2", spec_.n_embd);
    linear(name + "ffn_up", spec_.n_embd, spec_.n_ff);
    linear(name + "ffn_down", spec_.n_ff, spec_.n_embd);
  }

  void projection() {
    switch (spec_.shape) {
      case ProjectorShape::kLlava:
        linear("mm.0", spec_.n_embd, spec_.n_embd_text);
        linear("mm.2", spec_.n_embd_text, spec_.n_embd_text);
        break;
      case ProjectorShape::kGemma3:
        tensor("mm.input_projection.weight", {spec_.n_embd_text, spec_.n_embd});
        tensor("mm.soft_emb_norm.weight", {spec_.n_embd}, 1);
        number("clip.vision.projector.scale_factor", kMergedPatches);
        break;
      case ProjectorShape::kQwen2Vl:
        linear("mm.0", 4 * spec_.n_embd, 4 * spec_.n_embd);
        linear("mm.2", 4 * spec_.n_embd, spec_.n_embd_text);
        break;
    }
  }

  const ProjectorSpec& spec_;
  const std::unique_ptr<ggml_context, void (*)(ggml_context*)> context_;
  const std::unique_ptr<gguf_context, void (*)(gguf_context*)> gguf_;
  std::mt19937_64 random_;
};

void put_number(std::string& bytes, uint32_t value, int n_bytes) {
  for (int i = 0; i < n_bytes; ++i) bytes += static_cast<char>(value >> (8 * i) & 0xFFu);
}

}  // namespace

bool write_projector(const std::string& path, const ProjectorSpec& spec) { return MadeProjector(spec).write(path); }

std::string bmp_picture(uint32_t width, uint32_t height, uint64_t seed) {
  constexpr uint32_t kHeadBytes = 54;
  const uint32_t row_bytes = (3 * width + 3) / 4 * 4;
  std::string bytes = "BM";
  put_number(bytes, kHeadBytes + row_bytes * height, 4);
  put_number(bytes, 0, 4);
  put_number(bytes, kHeadBytes, 4);
  put_number(bytes, 40, 4);
  put_number(bytes, width, 4);
  put_number(bytes, height, 4);
  put_number(bytes, 1, 2);
  put_number(bytes, 24, 2);
  for (int i = 0; i < 6; ++i) put_number(bytes, 0, 4);
  std::mt19937_64 random(seed);
  const uint64_t slant = random() % 7 + 1, blue = random() % 256;
  for (uint32_t y = 0; y < height; ++y) {
    const size_t begin = bytes.size();
    for (uint32_t x = 0; x < width; ++x) {
      bytes += static_cast<char>(blue);
      bytes += static_cast<char>((x * slant + y * 3) % 256);
      bytes += static_cast<char>((x * x + y * slant) / 16 % 256);
    }
    bytes.resize(begin + row_bytes, '\0');
  }
  return bytes;
}

}  // namespace spillway
