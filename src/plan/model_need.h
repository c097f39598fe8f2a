// SPDX-License-Identifier: MIT
// What a model needs besides its weights once it is loaded, from its metadata alone: the cache of keys and values, the
// state of recurrent layers, the buffers of one pass. Pure.
//
// Memory mapping makes none of this smaller: a plan counts the weights, and adds this. The sizes are those that
// libllama allocates; tests/plan/model_need_test compares.
#pragma once

#include <cstdint>
#include <vector>

#include "base/status.h"
#include "model/gguf_model.h"
#include "plan/cache_format.h"

namespace spillway {

// What a token of the vocabulary takes once it is loaded: text, score, and the entry of a hash table.
inline constexpr uint64_t kVocabularyBytesPerToken = 256;

struct NeedOptions {
  uint64_t n_ctx = 4096;    // tokens of all sequences together
  uint32_t n_seq = 1;       // sequences that share them
  uint32_t n_ubatch = 512;  // tokens of one pass
  uint32_t n_outputs = 0;   // rows of logits of one pass; 0: one for each sequence
  CacheFormat cache = {};
  uint64_t adapter_bytes = 0;    // of LoRA adapters that are loaded beside the model
  uint64_t projector_bytes = 0;  // of an image projector beside it, on the host, with its buffers
  bool swa_full = false;         // layers with a sliding window keep the whole context too
  bool shared = true;            // all sequences share n_ctx tokens; else each has its part of them
};

struct LayerNeed {
  uint64_t kv_bytes = 0;     // grows with the context
  uint64_t state_bytes = 0;  // recurrent: does not
};

struct ModelNeed {
  std::vector<LayerNeed> layers;  // [n_layer]
  uint64_t kv_bytes = 0, state_bytes = 0;
  uint64_t compute_bytes = 0;      // activations and masks of one pass, as libllama reserves them
  uint64_t output_bytes = 0;       // logits that wait to be read
  bool pass_shapes_cache = false;  // a windowed cache is as long as its window and one pass
  // The program, its vocabulary, adapters, a projector, and what matrix products quantize their input into.
  uint64_t program_bytes = 0;

  uint64_t context_bytes() const { return kv_bytes + state_bytes + compute_bytes + output_bytes; }
};

// What a load takes beside all of that, unless weights are left to the page cache: kLoadedProgramBytes, and more for a
// model of many tensors.
uint64_t loaded_program_bytes(const GgufModel& model);

//   InvalidArgument   a context, sequences or ubatch of zero or beyond what libllama takes; errors of
//   check_cache_format
Result<ModelNeed> model_need(const GgufModel& model, const NeedOptions& options);

}  // namespace spillway
