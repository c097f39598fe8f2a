// SPDX-License-Identifier: MIT
// The steps of a load behind its decision: map the files, then let the weights be where they belong. Each takes what
// the earlier ones made and hands on what it made itself. Used by the thread that loads.
#pragma once

#include <memory>

#include "engine/engine_model.h"
#include "engine/graph_walk.h"
#include "engine/test_switches.h"

namespace spillway {

struct SeenModel {
  std::unique_ptr<const MappedModel> mapped;
  GraphWalk walk;  // what its graph does with the weights
};

// Mapped, and what tells its weights apart made ready: for load_ours().
//   Unsupported   libllama does not know or take the model
//   Cancelled     Unavailable
Result<SeenModel> map_for_us(LoadRequest request, const Decision& decision);

// Mapped and read as libllama does it without us; `repack`: into a copy, in memory of its own.
//   errors as above
Result<std::unique_ptr<const MappedModel>> map_for_libllama(LoadRequest request, const Decision& decision, bool repack);

struct Loaded {
  EngineModel model;
  EngineContext context;
  ModelInfo info;
};

// With the weights in memory of ours, all of them or what is used at the time.
//   errors of Engine::load
Result<Loaded> load_ours(SeenModel seen, Measured measured, Decision decision, const TestSwitches& test);

// With weights left to libllama, or to the page cache.
//   errors of Engine::load
Result<Loaded> load_by_libllama(LoadRequest request, Measured measured, Decision decision);

// Memory that grows after loading and is not libllama's: sampling, output rows, stacks, the allocator's slack.
inline constexpr uint64_t kGrowthBytes = 32 * MiB;

}  // namespace spillway
