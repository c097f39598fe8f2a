// SPDX-License-Identifier: MIT
// What earlier runs teach about predictions: where a measurement contradicted its prediction by more than a quarter,
// the next plan for the same model, machine, mode, kernels and about the same memory is corrected by that factor, and
// says so.
// Pure; engine/correction_store keeps them in a file.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "hw/machine_profile.h"
#include "model/gguf_model.h"
#include "plan/kernels.h"

namespace spillway {

inline constexpr double kContradiction = 0.25;
inline constexpr double kCorrectionMax = 3;

struct Correction {
  std::string model;          // model_key()
  std::string machine;        // fingerprint of the profile
  std::string mode;           // corrected_mode()
  uint64_t memory_bytes = 0;  // budget
  double predicted_tok_per_s = 0, measured_tok_per_s = 0;
  int64_t unix_s = 0;

  // What predictions are multiplied by. Nothing is believed to be that much faster: then something else was different,
  // and a plan would run into it. Slower may be as slow as it was.
  double factor() const { return std::min(measured_tok_per_s / predicted_tok_per_s, kCorrectionMax); }
  friend bool operator==(const Correction&, const Correction&) = default;
};

// The same for files with the same tensors in the same places, whatever their path.
std::string model_key(const GgufModel& model);

// What a candidate of that name is remembered by: kernels differ in speed.
std::string corrected_mode(const std::string& name, Kernels kernels);

// Whether a run with these figures is worth remembering: the uncorrected prediction was off by more than a quarter.
bool contradicts(double predicted_tok_per_s, double measured_tok_per_s);

// Whether the page cache may hold more of a mapped model than its budget allows, by more than budgets may differ for a
// correction: nobody holds it to that, and the run says nothing about the budget. `available_bytes` counts page cache.
bool cache_exceeds_budget(uint64_t weight_bytes, uint64_t budget_bytes, uint64_t available_bytes);

// The newest correction for the same model, machine and mode whose budget is within a quarter of `memory_bytes`.
std::optional<Correction> find_correction(const std::vector<Correction>& all, const std::string& model,
                                          const std::string& machine, const std::string& mode, uint64_t memory_bytes);

// `all` with `one` in front and without what it replaces; a run that agrees with its prediction only removes. At most
// 200 are kept, the newest.
std::vector<Correction> remember(std::vector<Correction> all, const Correction& one);

std::string encode_corrections(const std::vector<Correction>& all);

//   Corrupt   not such a text
Result<std::vector<Correction>> decode_corrections(std::string_view text);

}  // namespace spillway
