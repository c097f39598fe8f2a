// SPDX-License-Identifier: MIT
// What a GGUF file is, by its header: files that stand beside a model have the same ending and often a name like it.
// Pure.
#pragma once

#include <cstdint>
#include <string>

#include "model/gguf_metadata.h"

namespace spillway {

enum class GgufKind {
  kModel,          // or the first part of one
  kDrafter,        // guesses tokens for another model, and needs its weights: MTP heads, EAGLE, DFlash
  kProjector,      // of images or sound into a model
  kAdapter,        // LoRA
  kControlVector,  // added to a model's activations
  kImportance,     // imatrix: what a quantizer is to preserve
  kVocabulary      // a tokenizer without weights
};
const char* kind_phrase(GgufKind kind);  // "a model", "a projector of images or sound", ...

// The keys alone tell most: enough are those in front of the tokenizer's, in all files that llama.cpp writes.
GgufKind kind_of_keys(const GgufMetadata& metadata);

// All that can be told; wants the tensors' names read, too.
GgufKind kind_of(const GgufMetadata& metadata);

}  // namespace spillway
