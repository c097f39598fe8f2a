// SPDX-License-Identifier: MIT
// Writes image projectors (mmproj) of random numbers for a model of any width: small vision transformers as libmtmd
// takes them. And pictures to look at.
#pragma once

#include <gguf.h>

#include <cstdint>
#include <functional>
#include <string>

namespace spillway {

enum class ProjectorShape {
  kLlava,   // "mlp": a token for each patch, causal
  kGemma3,  // a token for each square of patches, decoded without the causal mask
  kQwen2Vl  // of images of any size, whose tokens have positions in two dimensions
};

struct ProjectorSpec {
  ProjectorShape shape = ProjectorShape::kLlava;
  uint32_t n_embd_text = 256;  // the language model's
  uint32_t image_size = 128, patch_size = 16;
  uint32_t n_embd = 64, n_ff = 128, n_head = 4, n_layer = 2;
  uint64_t seed = 1;
  std::function<void(gguf_context*)> change_keys = {};
  std::string leave_out = {};  // the tensor of this name
};

// Whether it was written.
bool write_projector(const std::string& path, const ProjectorSpec& spec = {});

// A picture as an uncompressed BMP file: stripes and spots that differ with the seed.
std::string bmp_picture(uint32_t width, uint32_t height, uint64_t seed = 1);

}  // namespace spillway
