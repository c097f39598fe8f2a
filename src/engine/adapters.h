// SPDX-License-Identifier: MIT
// LoRA adapters of a loaded model: small matrices that stay in memory beside its weights, which may stream. libllama
// owns them with the model. Used by the thread that loads, and by the one that makes contexts.
#pragma once

#include <llama.h>

#include <string>
#include <vector>

#include "base/status.h"
#include "engine/engine.h"
#include "model/adapter_file.h"

namespace spillway {

// Files that were held against the model, which need not be loaded.
struct CheckedAdapters {
  std::vector<AdapterFile> files;  // [n_adapter]
  std::vector<float> scales;

  uint64_t bytes() const;
  uint64_t graph_bytes() const;  // of these, what is taken when a context is made
  // Tells what they make of the model; empty without any.
  std::string key() const;
};
//   errors of open_adapter_file
Result<CheckedAdapters> check_adapters(const std::vector<LoraAdapter>& asked, const GgufModel& model);

class Adapters {
 public:
  Adapters() = default;
  // Before any context of the model is made: its graphs are larger with them.
  //   Corrupt   libllama does not take one that was found right      errors of check_adapter_numbers
  static Result<Adapters> load(const CheckedAdapters& checked, llama_model* model);

  // From its next pass on, `context` computes with them.
  void use_in(llama_context* context) const;

 private:
  std::vector<llama_adapter_lora*> adapters_;
  std::vector<float> scales_;
};

}  // namespace spillway
