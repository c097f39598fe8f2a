// SPDX-License-Identifier: MIT
// The model that is made larger: its metadata, its shape, and its weights, all in memory.
#pragma once

#include <ggml.h>
#include <gguf.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "make_model/error.h"

namespace spillway::inflate {

using make_model::Expected;
using make_model::failure;

struct FreeGguf {
  void operator()(gguf_context* gguf) const { gguf_free(gguf); }
};
using Gguf = std::unique_ptr<gguf_context, FreeGguf>;

struct SmallTensor {
  std::string name;
  ggml_type type = GGML_TYPE_F32;
  int64_t columns = 0, rows = 0, experts = 1;  // [experts][rows][columns]
  std::vector<std::byte> bytes;

  std::vector<float> row(int64_t expert, int64_t index) const;
};

// Constant once read.
struct SmallModel {
  Gguf metadata;
  std::string arch;
  int64_t embd = 0, layers = 0, ff = 0, experts = 0, experts_used = 0, heads = 0, head_dim = 0, vocab = 0;
  float norm_eps = 0;
  std::map<std::string, SmallTensor> tensors;

  bool is_dense() const { return experts == 0; }
  const SmallTensor* find(const std::string& name) const;
  const SmallTensor* find(int64_t layer, const std::string& name) const;  // "blk.LAYER.NAME"

  // Fails, with one sentence, for what is no GGUF model or a damaged one, in several files, of an architecture or with
  // tensors whose growth is not known here.
  static Expected<SmallModel> read(const std::string& path);
};

// The architectures that can be inflated, as their metadata names them.
std::vector<std::string> supported_archs();

}  // namespace spillway::inflate
