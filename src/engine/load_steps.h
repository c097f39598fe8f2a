// SPDX-License-Identifier: MIT
// The steps of a load, in their order: decide, load, make the context, predict. Used by the thread that loads.
#pragma once

#include <optional>

#include "engine/compute_probe.h"
#include "engine/llama_engine.h"
#include "engine/quick_probe.h"
#include "layout/layout.h"
#include "plan/placement.h"

namespace spillway {

// --- load_decision.cpp

// Which mode to load in, and with it the size of the context, what goes to devices and how many tokens share a reading.
// Decided by the planner; what it finds no room for is refused here, before anything is taken. Budgets for weights
// alone and devices that were named are for the caller to know: nothing is planned then.
//   errors of make_plan
Result<Mode> choose_mode(EngineParts& parts, const MatmulRate& compute);

// Only whether the planner finds room, beside parts.held_bytes of other models.
//   errors of make_plan
Result<void> check_plan(EngineParts& parts);

uint64_t host_weight_bytes(const EngineParts& parts);
// What a layout of the host's weights is made from, now that the model is mapped and its graph was seen.
LayoutRequest layout_request(const EngineParts& parts, const GraphWalk& walk, uint64_t weights_budget_bytes);
// Of a layout's extents, one in the middle that decoding uses: for tests of the tests.
uint32_t corruptible_extent(const Layout& layout);

// By what buffers grow in the first pass with adapters: libllama reserves them without.
uint64_t adapter_growth_bytes(const EngineParts& parts);

// The plan's prediction becomes the placement's.
void adopt_prediction(EngineParts& parts);

// The same, with what the rest of the process really takes.
void predict_again(EngineParts& parts);

// What a load that was planned looks at again while it reads, since what was measured before it was a moment's.
struct LoadLooks {
  DiskLooks disk;
  std::optional<ComputeLooks> compute;  // none where its weights do not fit beside those of the model

  void look() {
    disk.look();
    if (compute) compute->look();
  }
};
// `free_bytes`: of the budget, not used until the last look. Nothing where neither was measured.
std::optional<LoadLooks> load_looks(const EngineParts& parts, const ComputeProbe& probe, const MatmulRate& probed,
                                    uint64_t free_bytes);
// What they saw is what predictions use from here on.
void adopt_looks(EngineParts& parts, const LoadLooks& looks);

// What was to stream fits after all: the plan becomes one for a resident model on the same devices, or none.
void plan_resident_instead(EngineParts& parts);

// --- load_context.cpp; make_context() is declared in llama_engine.h

// Of all sequences together.
//   InvalidArgument   more than any context has
Result<uint32_t> context_tokens(const EngineParts& parts);

// Fills parts.info.
//   Unsupported   the file's figures do not go together
Result<void> describe(EngineParts& parts);

}  // namespace spillway
