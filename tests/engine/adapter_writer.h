// SPDX-License-Identifier: MIT
// Writes LoRA adapters for a model, of random numbers that change what it computes; and, for tests, wrong ones.
#pragma once

#include <gguf.h>

#include <cstdint>
#include <functional>
#include <string>

#include "model/gguf_model.h"

namespace spillway {

struct AdapterSpec {
  std::string architecture = {};  // empty: the model's
  uint32_t rank = 4;
  float alpha = 8;
  uint64_t seed = 1;
  // Of the model's matrices; null: all, with their experts, and the embedding where it is not the output too.
  std::function<bool(const TensorInfo&)> changes = {};
  std::function<void(gguf_context*)> change_keys = {};
};

// Whether it was written.
bool write_adapter(const GgufModel& model, const std::string& path, const AdapterSpec& spec = {});

}  // namespace spillway
