// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <string>

#include "hw/machine_profile.h"
#include "model/gguf_model.h"

namespace spillway {

struct ComputeProbe {
  std::string type;  // ggml's name of the weights' type: "q4_K"
  unsigned n_threads = 1;
  uint64_t matrix_bytes = 0;  // of one, as the model has them
  bool has_experts = false;
};
// What says most about a model: the type that most of its weights have.
ComputeProbe compute_probe_of(const GgufModel& model, unsigned n_threads);

// What loads and plans without a profile know of the processor, measured through ggml: a matrix-vector product on
// matrices that exceed the caches together, each waiting for the one before as in a model; a batch of tokens; and,
// for a mixture of experts, the same with a router. Three to four tenths of a second. A rate is 0 when ggml cannot.
MatmulRate measure_compute(const ComputeProbe& probe);

}  // namespace spillway
