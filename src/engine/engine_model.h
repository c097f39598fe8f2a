// SPDX-License-Identifier: MIT
// What a load hands to an engine, by who may use it: a model that stays as it is, and a context that computes.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "backend/llama_handles.h"
#include "backend/worker_link.h"
#include "engine/adapters.h"
#include "engine/gate.h"
#include "engine/load_decision.h"
#include "engine/load_request.h"
#include "engine/projector.h"
#include "engine/repacked_forms.h"
#include "engine/weight_index.h"
#include "layout/layout.h"
#include "os/bus_guard.h"
#include "store/pinned_weights.h"
#include "store/weight_store.h"

namespace spillway {

// The files as libllama has mapped them, and what it made beside them. Constant, any thread; on the heap, since what
// comes later refers to it.
struct MappedModel {
  LoadRequest request;                               // of its tensors those marked that no graph uses
  std::unique_ptr<BusGuard> bus_guard;               // over the mapped files
  std::vector<std::shared_ptr<WorkerLink>> workers;  // go late: what libllama frees there is told to them
  std::vector<float> layer_share;                    // [device] see DevicePlacement
  LlamaModelPtr llama;
  Adapters adapters;                     // part of the model
  std::unique_ptr<Projector> projector;  // null: the model sees nothing
  uint64_t projector_later_bytes = 0;    // of what was reserved for it, not in memory before an image is computed
  std::unique_ptr<WeightIndex> index;    // finds nothing where weights are left to libllama
  Kernels kernels = Kernels::kPlain;
  RepackedForms forms;  // all plain where libllama repacks

  //   Unavailable   a worker is lost: what workers answered so far may not have come from them
  Result<void> check_workers() const;

  // Why libllama could not make or compute something: `why`, or the worker that is to blame. The next load asks it anew
  // for what ggml keeps.
  //   Unavailable   a worker had no memory for it, or ggml's reason names one      code of `why`   otherwise
  Failure blame(const Status& why) const;
  // The same for what libllama threw, where figures of a worker may be wrong as well as those of the file.
  Failure blame_file(const Status& why) const;
};

// The weights that the host computes with, in memory of ours. They have their own threads and locks; the layout is
// constant.
struct WeightsInMemory {
  Layout layout;
  std::unique_ptr<PinnedWeights> pinned;
  std::unique_ptr<WeightStore> store;  // null when nothing streams
  std::string heat_key;                // empty: the heat profile is not kept
};

// Constant, any thread.
struct EngineModel {
  std::unique_ptr<const MappedModel> mapped;
  std::unique_ptr<const WeightsInMemory> weights;  // null: libllama has them as without us, or the page cache
  Measured measured;
  Decision decision;
  Placement placement;
  MemoryReport memory;
};

// `why`: the mode; `other_bytes`: what all but weights takes.
EngineModel make_engine_model(std::unique_ptr<const MappedModel> mapped, std::unique_ptr<const WeightsInMemory> weights,
                              Measured measured, Decision decision, const std::string& why, uint64_t other_bytes);

// The decode thread's, but for `abort`.
struct EngineContext {
  std::unique_ptr<std::atomic<bool>> abort;  // any thread
  std::unique_ptr<Gate> gate;                // null where nothing has to be asked about: a resident model, as a rule
  ContextShape shape;                        // as libllama made it
  LlamaContextPtr llama;                     // goes first
};

}  // namespace spillway
