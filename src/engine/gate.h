// SPDX-License-Identifier: MIT
// Stands between libllama's graph and the store: each node that reads streamed weights computes only while they are
// resident and pinned. It looks at the addresses a node reads, not at architecture names.
//
// ggml asks before computing ("shall I stop after this node?") and shows the node afterwards. It asks for a whole
// stretch of nodes and then computes them, so:
//   asked about a node that reads streamed weights   -> acquire them (this may block), stop after it, release
//   asked about the node that produces expert ids     -> stop after it: MUL_MAT_ID reads only the experts in its ids,
//   and
//                                                        only then are they known; request all that this layer will use
// Which node produces ids is found through MUL_MAT_ID's src[2] and remembered by name; until every such node has been
// seen (the first pass) the graph is cut everywhere. Whatever is not recognised is left to the weight space: right,
// slow, and counted.
//
// Used by the decode thread alone. Outlives no ResidencyCache or WeightIndex it was given.
#pragma once

#include <ggml-backend.h>

#include <atomic>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/engine.h"
#include "engine/layout.h"
#include "engine/router_lookahead.h"
#include "store/residency_cache.h"

namespace spillway {

class Gate {
 public:
  // Until open_gate() nothing is gated, only observed.
  Gate(const GgufModel& model, const Placement& placement, const Layout& layout, const WeightIndex& index,
       TestSwitches test);
  void open_gate(ResidencyCache* cache) { cache_ = cache; }

  // For llama_context_params: pass the Gate as user data.
  static bool on_node(ggml_tensor* node, bool ask, void* self);

  // Around each llama_decode. `n_tokens` of the largest ubatch tells a scan (prefill) from a choice.
  void begin_pass(size_t n_tokens);
  //   Io  Changed  OutOfBudget   what went wrong in acquiring; the pass's results must be dropped
  //   Cancelled                  abort was set
  Result<void> end_pass();

  void set_observer(Engine::NodeObserver observer) { observer_ = std::move(observer); }
  void set_abort_flag(const std::atomic<bool>* flag) { abort_ = flag; }

  uint64_t ungated() const { return ungated_; }
  void reset_stats() { ungated_ = 0; }

 private:
  bool ask(ggml_tensor* node);
  bool observe(ggml_tensor* node);
  void gate_source(ggml_tensor* node, int source);
  void gate_experts(ggml_tensor* node, uint32_t tensor);
  void warm_rows(ggml_tensor* node, uint32_t tensor);
  void acquire();
  void release();
  void leave_ungated();
  void request_layer(const ggml_tensor* ids, const std::string& producer, const std::vector<uint32_t>& experts);
  void request_whole_layer(const std::string& next, size_t n_experts);
  void request_ahead(const ggml_tensor* ids, size_t layer, size_t n_experts);
  std::vector<ExtentId> extents_of(const std::string& producer, const std::vector<uint32_t>& experts) const;
  bool has_room_ahead(const std::string& later, size_t n_experts, uint32_t n_layers) const;
  std::vector<uint32_t> read_ids(const ggml_tensor* ids, uint32_t n_expert) const;
  bool is_computed(const ggml_tensor* node) const;

  const GgufModel& model_;
  const Placement& placement_;
  const Layout& layout_;
  const WeightIndex& index_;
  ResidencyCache* cache_ = nullptr;
  const TestSwitches test_;

  Engine::NodeObserver observer_;
  const std::atomic<bool>* abort_ = nullptr;

  // Learned: the node whose value is expert ids, and the expert tensors that are multiplied by those ids, in order of
  // use.
  std::unordered_map<std::string, std::vector<uint32_t>> users_of_ids_;
  std::vector<std::string> producers_;  // in order of use, that is by layer
  bool learned_ = false;                // a whole pass was seen
  RouterLookahead lookahead_;

  // Of the stretch being asked about.
  std::vector<const ggml_tensor*> uncomputed_;
  std::vector<ExtentId> wanted_;  // by the node being asked about
  std::vector<ExtentId> held_;
  bool eviction_forbidden_ = false;

  bool scan_ = false;
  tl::expected<void, Status> outcome_{};
  uint64_t ungated_ = 0;
  std::vector<std::byte> row_scratch_;
};

}  // namespace spillway
