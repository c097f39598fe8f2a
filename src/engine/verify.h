// SPDX-License-Identifier: MIT
// Proves on a given model that streaming changes nothing: the same tokens through a streamed engine and through plain
// libllama (same threads, same kernels), outputs compared bit for bit; where they differ, the first node that does.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace spillway {

struct VerifyOptions {
  std::string path;
  uint64_t ram_bytes = 0;             // of the streamed run; 0: what is free
  uint64_t weights_bytes = 0;         // budget for weights alone, instead
  DeviceOptions devices;              // in both runs
  Kernels kernels = Kernels::kAuto;   // in both runs
  CacheFormat cache;                  // in both runs
  std::vector<LoraAdapter> adapters;  // too
  unsigned n_threads = 0;
  uint32_t n_prompt = 48;  // tokens, in ubatches of n_ubatch
  uint32_t n_ubatch = 16;
  uint32_t n_decode = 16;
  uint32_t n_seqs = 4;  // of the batch, n_prompt/4 tokens each and then one together
  uint64_t extent_bytes_min = 0;
  IoQueueKind reader = IoQueueKind::kBest;
  bool direct_io = true;
  std::function<bool(const std::string& stage, double fraction)> progress;
};

struct VerifyReport {
  bool exact = false;
  size_t outputs_compared = 0;   // vectors of logits or embeddings
  std::string first_difference;  // "decode step 3, layer 5 (ffn_moe_up-5)"; empty when exact
  uint64_t bytes_streamed = 0;
  uint64_t major_faults = 0;  // of the streamed run, loading excluded
  uint64_t ungated = 0;
  MemoryReport memory;
  std::string reference;  // "resident" or "mmap"
  Kernels kernels = Kernels::kPlain;
  uint64_t logits_hash = 0;
};

using EngineLoader = std::function<Result<std::unique_ptr<Engine>>(const LoadOptions&)>;

// `load_streamed` makes the engine that is held against plain libllama's.
//   errors of load_streamed, Engine::load and decode (of either run)
//   Unsupported   the model gives no output to compare
Result<VerifyReport> verify(const VerifyOptions& options, const EngineLoader& load_streamed = Engine::load);

}  // namespace spillway
