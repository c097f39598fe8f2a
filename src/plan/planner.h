// SPDX-License-Identifier: MIT
// From a model and a machine to a plan: which mode, where every tensor lives, what it costs, and what else was
// considered. Pure: no disk, no clock, no library. Thread-safe.
//
// Two callers: `spillway plan`, which has metadata and a profile, and a load, which has measured what the rest of the
// process takes and fills that in.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "hw/machine_profile.h"
#include "layout/layout.h"
#include "model/gguf_model.h"
#include "plan/cache_format.h"
#include "plan/corrections.h"
#include "plan/kernels.h"
#include "plan/placement.h"

namespace spillway {

struct PlanRequest {
  const GgufModel* model = nullptr;
  const MachineProfile* machine = nullptr;
  const std::vector<Correction>* corrections = nullptr;  // of earlier runs; nullptr: none

  uint64_t ram_bytes = 0;    // for the whole process; 0: the machine's, less an eighth for everybody else
  uint64_t held_bytes = 0;   // of that, what other models of the process hold
  uint64_t cache_bytes = 0;  // of that, for caches of the caller's own; given up before anything is refused
  uint64_t other_bytes = 0;  // measured: everything that is not weights, on the host; 0: predicted
  std::optional<uint64_t> gpu_memory_bytes =
      std::nullopt;                         // of each device, instead of what the profile says; 0: no device is used
  std::optional<Mode> mode = std::nullopt;  // asked for by name
  Kernels kernels = Kernels::kPlain;        // chosen; with repacked ones nothing is left to the page cache
  // false: `ram_bytes` is a limit that the kernel's page cache knows nothing of, so weights are left to it only where
  // that mode is asked for.
  bool may_use_page_cache = true;
  uint64_t n_ctx = 4096;  // tokens of all sequences together
  uint32_t n_seq = 1;
  bool shared_context = true;  // see NeedOptions::shared
  bool swa_full = false;       // see NeedOptions
  uint32_t n_ubatch = 0;       // 0: chosen
  uint32_t n_outputs = 0;      // tokens of one pass whose logits are wanted; 0: one for each sequence
  CacheFormat cache = {};
  uint64_t adapter_bytes = 0;    // see NeedOptions
  uint64_t projector_bytes = 0;  // see NeedOptions
  uint64_t extent_bytes_min = 256 * KiB;

  // What is weighed: a prompt and an answer of this many tokens.
  uint64_t n_prompt = 512, n_answer = 256;
  // And a longer prompt, as agents and documents have it: for it a pass may be longer than usual. 0: none.
  uint64_t n_prompt_long = 0;
};

// The long prompt of loads, and of plans where nobody names a length.
inline constexpr uint64_t kLongPromptTokens = 4096;

inline constexpr int kHost = -1;

struct TensorPlace {
  int device = kHost;         // index into Plan::devices
  Tier tier = Tier::kPinned;  // on the host, in stream mode
};

struct DeviceUse {
  std::string name;
  bool is_worker = false;  // another machine, over the network
  bool shares_ram = false;
  uint64_t memory_bytes = 0;  // that a plan may use
  uint64_t weight_bytes = 0, kv_bytes = 0, compute_bytes = 0;
  uint64_t expert_cache_bytes = 0;  // libllama's cache for experts of its layers that are kept on the host
  uint32_t n_layers = 0;            // whose attention, and KV cache, are here
  bool has_output = false;

  uint64_t used_bytes() const { return weight_bytes + kv_bytes + compute_bytes + expert_cache_bytes; }
};

struct HostUse {
  uint64_t memory_bytes = 0;  // the budget
  uint64_t weight_bytes = 0;  // of the tensors that the CPU computes with, wherever they are
  uint64_t pinned_bytes = 0, ring_pool_bytes = 0, expert_pool_bytes = 0;
  uint64_t buffer_bytes = 0;    // for what is not read in place
  uint64_t rows_bytes = 0;      // tables of which rows come through the page cache; not in memory
  uint64_t streamed_bytes = 0;  // weights that do not stay
  uint64_t kv_bytes = 0, compute_bytes = 0, program_bytes = 0;
  uint64_t devices_bytes = 0;  // devices that share this memory

  uint64_t used_bytes() const {
    return pinned_bytes + ring_pool_bytes + expert_pool_bytes + buffer_bytes + kv_bytes + compute_bytes +
           program_bytes + devices_bytes;
  }
};

struct Prediction {
  double decode_tok_per_s = 0, prefill_tok_per_s = 0;
  double first_token_s = 0;  // of a prompt of n_prompt tokens, the model loaded
  double load_s = 0;
  double request_s = 0;  // prompt and answer: what candidates are compared by
  double bytes_read_per_token = 0;
  double hit_rate = 1;  // of the experts a token asks for, on the host
  std::string decode_bound, prefill_bound;
  double correction = 1;  // an earlier run's measured over its predicted speed, already in the figures above
};

// One way to run the model: the plan, or one that lost.
struct Candidate {
  std::string name;  // "stream", "GPU split", "resident", "mmap"
  bool possible = false;
  std::string why_not;  // what it lacks, or by how much it lost
  Prediction prediction;
};

struct Plan {
  Mode mode = Mode::kResident;        // of what the host holds
  std::string name;                   // of the candidate
  std::string why;                    // one sentence
  Kernels kernels = Kernels::kPlain;  // as asked for, but beside devices
  Prediction prediction;
  std::vector<TensorPlace> places;  // [n_tensor]
  std::vector<DeviceUse> devices;   // that take part or could, in the order libllama is to be given them
  HostUse host;
  Layout layout;             // of the host's part in mode stream, in figures
  uint64_t n_ctx = 4096;     // tokens of all sequences together, as requested
  uint64_t cache_bytes = 0;  // as requested, or nothing where there is no room
  uint32_t n_ubatch = 512;
  uint32_t n_outputs = 0;        // as requested, or fewer where there is no room
  uint32_t n_gpu_layers = 0;     // libllama's: layers from the end, the output counted as one
  bool experts_on_host = false;  // some device layer's experts are computed on the host
  uint64_t moe_cache_bytes = 0;  // libllama's moe_cache_size: expert caches of all devices
  bool op_offload = false;       // long prompts are computed on a device with weights copied there for it
  std::vector<Candidate> others;
  std::vector<std::string> doubts;  // figures that were assumed, not measured
};

// The fastest plan that fits. With PlanRequest::mode only plans of that mode. Where nothing fits, shorter passes
// (unless n_ubatch names a length), fewer outputs and no caches are tried before that is said.
//   InvalidArgument   no model or machine facts; sizes of zero or that no machine has; a mode asked for that cannot be
//   Corrupt           a model with more layers than tensors      Unsupported   with more than libllama loads
//   OutOfBudget       nothing fits: the message names the least memory that does, for which this was tried
Result<Plan> make_plan(const PlanRequest& request);

}  // namespace spillway
