// SPDX-License-Identifier: MIT
// What a model needs besides its weights once it is loaded, from its metadata alone: the cache of keys and values, the
// state of recurrent layers, the buffers of one pass. Pure.
//
// Memory mapping makes none of this smaller: a plan counts the weights, and adds this. The sizes are those that
// libllama allocates; tests/plan/model_need_test compares.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "model/gguf_model.h"

namespace spillway {

// What a token of the vocabulary takes once it is loaded: text, score, and the entry of a hash table.
inline constexpr uint64_t kVocabularyBytesPerToken = 256;

struct NeedOptions {
  uint64_t n_ctx = 4096;    // tokens of all sequences together
  uint32_t n_seq = 1;       // sequences that share them
  uint32_t n_ubatch = 512;  // tokens of one pass
  uint32_t n_outputs = 0;   // rows of logits of one pass; 0: one for each sequence
  std::string cache_type_k = "f16", cache_type_v = "f16";
  bool swa_full = false;  // layers with a sliding window keep the whole context too
  bool shared = true;     // all sequences share n_ctx tokens; else each has its part of them
};

struct LayerNeed {
  uint64_t kv_bytes = 0;     // grows with the context
  uint64_t state_bytes = 0;  // recurrent: does not
};

struct ModelNeed {
  std::vector<LayerNeed> layers;  // [n_layer]
  uint64_t kv_bytes = 0, state_bytes = 0;
  uint64_t compute_bytes = 0;  // activations and masks of one pass, as libllama reserves them
  uint64_t output_bytes = 0;   // logits that wait to be read
  uint64_t program_bytes = 0;  // the program, its vocabulary, and what matrix products quantize their input into

  uint64_t context_bytes() const { return kv_bytes + state_bytes + compute_bytes + output_bytes; }
};

//   InvalidArgument   a context, sequences or ubatch of zero or beyond what libllama takes; an unknown cache type
Result<ModelNeed> model_need(const GgufModel& model, const NeedOptions& options);

// Cache types by ggml's name: bytes of `values` values. 0 for a type that no cache takes.
uint64_t cache_row_bytes(const std::string& type, uint64_t values);

}  // namespace spillway
