// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "hw/machine_profile.h"
#include "model/gguf_model.h"
#include "probe/matmul_probe.h"

namespace spillway {

struct ComputeProbe {
  std::string type;  // ggml's name of the weights' type: "q4_K"
  unsigned n_threads = 1;
  uint64_t matrix_bytes = 0;   // of one, as the model has them
  uint64_t weights_bytes = 0;  // of all that a token is multiplied with; 0: the least that says anything
  bool has_experts = false;
  bool repacked = false;  // measured with repacked kernels, where the type has them
};
// What says most about a model: the type that most of its weights have. `memory_bytes`: what may be used, of which a
// part is.
ComputeProbe compute_probe_of(const GgufModel& model, unsigned n_threads, uint64_t memory_bytes);

// Weights to measure decoding with: a token's are read once and come from memory, so they must be many times what the
// caches hold. With 2, 4 and 8 times a cache of 32 MiB: 38, 32 and 30 GB/s, and models reach 33.
uint64_t probe_weights_bytes(uint64_t memory_bytes);

// What loads and plans without a profile know of the processor, measured through ggml: a matrix-vector product on
// matrices that exceed the caches together, each waiting for the one before as in a model; a batch of tokens; and,
// for a mixture of experts, the same with a router. Half a second. A rate is 0 when ggml cannot.
MatmulRate measure_compute(const ComputeProbe& probe);

// Measures decoding again while a model loads. Others on the machine below take a processor away for tenths of a second
// (two thirds of the rate or half, once in twenty samples here), and what is predicted is met over seconds. One thread.
class ComputeSamples {
 public:
  // Allocates the probe's weights, which are held until this goes. `probed`: what measure_compute() found.
  // nullopt where nothing was measured, or for want of memory.
  static std::optional<ComputeSamples> open(const ComputeProbe& probe, const MatmulRate& probed);

  // Forty milliseconds. One that fails is not counted.
  void take_sample();

  // The median of all samples and of what was probed.
  double decode_bytes_per_s() const;

 private:
  ComputeSamples(BackendPtr backend, MatmulProbe probe, double probed_bytes_per_s);
  BackendPtr backend_;  // outlives the probe
  MatmulProbe probe_;
  std::vector<double> rates_;
};

}  // namespace spillway
