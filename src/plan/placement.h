// SPDX-License-Identifier: MIT
// Decides for each tensor where it lives, and for the run which mode it takes. Pure functions of numbers: no disk, no
// clock, no library.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "model/gguf_model.h"

namespace spillway {

enum class Mode {
  kResident,  // everything in memory: plain libllama
  kStream,    // what does not fit is read ahead of the computation
  kMmap,      // left to the kernel's page cache
};
const char* mode_name(Mode mode);

enum class Tier : uint8_t {
  kPinned,   // in memory for good
  kRing,     // dense: read anew in each pass
  kExperts,  // slices kept by heat, read when the router asks
  kRows,     // only single rows are ever read (an embedding): the kernel's mapping
  kDevice,   // in a device's own memory: nothing of it stays on the host
};
const char* tier_name(Tier tier);

struct PlanInput {
  const std::vector<TensorInfo>* tensors = nullptr;
  std::vector<bool> on_device = {};  // [n_tensor]; empty: none is
  bool tied_embedding = false;       // the embedding is the output matrix too, so all of it is read in each pass
  uint64_t n_expert_used = 0;
  uint64_t weights_budget_bytes = 0;  // what weights may take: the budget less KV cache, buffers and the program itself
  uint64_t resident_bytes = 0;        // what the resident mode would take of that budget
  std::optional<Mode> mode;           // asked for by name
  uint64_t extent_bytes_min = 0;      // a tensor or slice smaller than this is pinned
  double disk_bytes_per_s = 0;        // measured
  double compute_bytes_per_s = 0;     // weights multiplied per second in decode, measured; 0: unknown
};

struct Placement {
  Mode mode = Mode::kResident;
  std::string why;          // one sentence
  std::vector<Tier> tiers;  // [n_tensor]; only in stream mode
  uint64_t pinned_bytes = 0, ring_tensor_bytes = 0, expert_tensor_bytes = 0, rows_bytes = 0, device_bytes = 0;
  uint64_t pool_bytes = 0;         // memory for ring and expert slots together
  uint64_t ring_pool_bytes = 0;    // of that, the ring's
  uint64_t weights_bytes_min = 0;  // the least weights budget that could stream this model

  // Predictions for decoding one token; 0 where nothing was measured.
  double active_bytes = 0;  // weights one token multiplies with
  double bytes_read_per_token = 0;
  double predicted_tok_per_s = 0;
  // For a prompt that goes through in full passes of `prefill_pass_tokens`; 0: not predicted.
  double predicted_prefill_tok_per_s = 0;
  uint64_t prefill_pass_tokens = 0;
};

//   OutOfBudget       not even one token's need fits: the message says the minimum
//   InvalidArgument   resident was asked for by name and does not fit
Result<Placement> place(const PlanInput& input);

// The least slots per length of slice: one operation's experts while the next one's are read.
uint64_t expert_slots_min(uint64_t n_expert_used);

// What one tensor contributes to one token, in bytes.
double active_bytes_of(const TensorInfo& tensor, const PlanInput& input);

}  // namespace spillway
