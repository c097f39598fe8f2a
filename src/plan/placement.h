// SPDX-License-Identifier: MIT
// In which mode a model runs, and what that means for its weights, in figures: what people are told of a plan or a
// load.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/status.h"
#include "layout/layout.h"
#include "plan/kernels.h"

namespace spillway {

enum class Mode {
  kResident,  // everything in memory: plain libllama
  kStream,    // what does not fit is read ahead of the computation
  kMmap,      // left to the kernel's page cache
};
const char* mode_name(Mode mode);

struct Placement {
  Mode mode = Mode::kResident;
  std::string why;  // one sentence
  Kernels kernels = Kernels::kPlain;
  uint64_t pinned_bytes = 0, ring_tensor_bytes = 0, expert_tensor_bytes = 0, rows_bytes = 0, device_bytes = 0;
  uint64_t unused_bytes = 0;     // of tensors that nothing uses; nowhere in memory
  uint64_t pool_bytes = 0;       // memory for ring and expert slots together
  uint64_t ring_pool_bytes = 0;  // of that, the ring's

  // Predictions for decoding one token; 0 where nothing was planned.
  double active_bytes = 0;  // weights one token multiplies with
  double bytes_read_per_token = 0;
  double predicted_tok_per_s = 0;
  // For a prompt that goes through in full passes of `prefill_pass_tokens`; 0: not predicted.
  double predicted_prefill_tok_per_s = 0;
  uint64_t prefill_pass_tokens = 0;
};

// The figures of a layout.
Placement placement_of(const Layout& layout, Mode mode, std::string why);

// A mode for a model whose weights all together would take `resident_bytes`, and why.
//   InvalidArgument   resident was asked for by name and does not fit
struct ModeChoice {
  Mode mode = Mode::kResident;
  std::string why;
};
Result<ModeChoice> mode_for(uint64_t resident_bytes, uint64_t weights_budget_bytes, std::optional<Mode> asked);

// A budget in which a model cannot run.
struct TooSmall {
  uint64_t ram_bytes = 0;    // that there is
  uint64_t least_bytes = 0;  // that does; 0: no memory would
  uint64_t held_bytes = 0;   // by other models of the process
  uint64_t weight_bytes = 0;
  uint64_t n_ctx = 0;  // tokens of each context
  uint32_t n_contexts = 1;
  std::optional<Mode> mode = std::nullopt;  // asked for by name
};
// The one sentence about it: an OutOfBudget.
Status budget_too_small(const TooSmall& what);
// The same of a budget for weights alone.
Status weights_too_small(uint64_t weights_bytes, uint64_t least_bytes);

}  // namespace spillway
