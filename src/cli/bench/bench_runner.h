// SPDX-License-Identifier: MIT
// Makes the runs of a benchmark: every one a child process, in a memory cgroup of its own where its kind is capped,
// from a model file that is not in the page cache. The cgroups are gone when run() returns.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cli/bench/bench_run.h"
#include "engine/engine.h"
#include "model/gguf_model.h"

namespace spillway {

// How llama.cpp's own tool is started: the private prefix's under that prefix's loader, or an installed one.
struct LlamaBenchProgram {
  std::string program;
  std::vector<std::string> arguments;  // before its own
  std::string folder;                  // where it finds its backends; empty: it knows
};
//   NotFound   neither in the prefix this program was built with nor in PATH
Result<LlamaBenchProgram> find_llama_bench();

struct BenchSetup {
  std::string model_path;
  uint64_t ram_bytes = 0;
  bool use_cgroups = true;
  std::string mode = "auto";  // of BenchKind::kOurs
  uint32_t n_warmup = 0;
  uint32_t n_ctx = 0;
  CacheFormat cache;                  // of every run
  std::vector<LoraAdapter> adapters;  // too, but llama.cpp's own tool's
  unsigned n_threads = 1;
  std::vector<TokenId> ids;  // prompt and answer are taken from its beginning, by every run alike
  bool start_cold = true;    // drop the model from the page cache before each run
  std::optional<LlamaBenchProgram> llama_bench;
};

// Ids that a run of `task` takes: its prompt, the warm-up, what is measured, and one that is fed but not computed.
size_t bench_ids_needed(const BenchTask& task, uint32_t n_warmup);

class BenchRunner {
 public:
  // `model` must outlive it.
  BenchRunner(const GgufModel& model, BenchSetup setup) : model_(model), setup_(std::move(setup)) {}

  // Whether runs can be capped.
  //   PermissionDenied  Unsupported   the message says what to do
  Result<void> check_cgroups() const;

  // A child that fails is a BenchRun that says so.
  //   Cancelled   Ctrl-C           errors of MemoryCgroup::create and run_child
  Result<BenchRun> run(const BenchTask& task, uint32_t repetition, const std::function<void()>& on_tick);

 private:
  const GgufModel& model_;
  const BenchSetup setup_;
  uint32_t n_cgroups_ = 0;  // made so far
};

}  // namespace spillway
