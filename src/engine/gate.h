// SPDX-License-Identifier: MIT
// Stands between libllama's graph and the store: each node that reads weights is given stand-ins for them that lie in
// our memory, held there while it computes. It looks at the addresses a node reads, not at architecture names.
//
// ggml asks before computing ("shall I stop after this node?") and shows the node afterwards. It asks for a whole
// stretch of nodes and then computes them, so:
//   asked about a node that reads weights    -> acquire them (this may block), put stand-ins in its sources
//   the next weights are not there yet       -> stop after it, so that what can be computed is while they are read
//   asked about the node that produces ids   -> stop after it: MUL_MAT_ID reads only the experts in its ids, and only
//                                               then are they known; request all that this layer will use
//   the stretch is computed                  -> put the nodes' own sources back, release
// Each stop costs a barrier of all threads: one for a layer of experts that are there, none for dense weights that are.
//
// The file's mapping, which the nodes' own sources show, always shows the file. What is not recognised, or does not
// fit, is left to it: right, slow, and counted.
//
// Used by the decode thread alone. Outlives no store, index or layout it was given.
#pragma once

#include <ggml-backend.h>

#include <atomic>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/engine.h"
#include "engine/pass_order.h"
#include "engine/repacked_forms.h"
#include "engine/router_lookahead.h"
#include "engine/stand_ins.h"
#include "engine/weight_index.h"
#include "layout/layout.h"
#include "store/pinned_weights.h"
#include "store/weight_store.h"

namespace spillway {

class Gate {
 public:
  // Until open() nothing is gated, only observed.
  Gate(const GgufModel& model, const WeightIndex& index);

  // `order`: what a pass does, where that is known beforehand; else the first pass teaches it, cut everywhere.
  struct Weights {
    const Layout* layout = nullptr;
    PinnedWeights* pinned = nullptr;
    WeightStore* store = nullptr;  // nullptr: nothing streams
    const RepackedForms* forms = nullptr;
  };
  void open(const Weights& weights, PassOrder order, bool order_is_known);

  // For llama_context_params: pass the Gate as user data.
  static bool on_node(ggml_tensor* node, bool ask, void* self);

  // Around each llama_decode of `n_tokens`, in graphs of at most `n_ubatch`.
  void begin_pass(size_t n_tokens, size_t n_ubatch);
  //   Io  Changed  OutOfBudget   what went wrong in acquiring; the pass's results must be dropped
  //   Cancelled                  abort was set
  Result<void> end_pass();

  // The most tokens of one pass for which the experts' slots suffice; 0: no limit.
  size_t pass_tokens_max() const;

  void set_observer(Engine::NodeObserver observer) { observer_ = std::move(observer); }
  void set_abort_flag(const std::atomic<bool>* flag) { abort_ = flag; }

  uint64_t ungated() const { return ungated_; }
  uint64_t cuts() const { return cuts_; }
  void reset_stats() { ungated_ = cuts_ = 0; }

 private:
  bool ask(ggml_tensor* node);
  bool observe(ggml_tensor* node);
  void end_stretch();

  // Each: whether to stop after the node.
  bool gate_source(ggml_tensor* node, int source);
  bool gate_weight(ggml_tensor* node, int source, uint32_t tensor);
  bool gate_dense(ggml_tensor* node, int source, uint32_t tensor);
  bool gate_experts(ggml_tensor* node, uint32_t tensor);
  bool gate_whole(ggml_tensor* node, uint32_t tensor);
  bool gate_routed(ggml_tensor* node, uint32_t tensor);
  void gate_rows(ggml_tensor* node, uint32_t tensor);

  uint32_t tensor_of(const ggml_tensor* weight);
  // More of the same can be held in this stretch; no more of them; not even these fit, and the node is left to the
  // mapping, or the pass has failed.
  enum class Acquired { kWithRoom, kLast, kNot };
  Acquired acquire(const std::vector<ExtentId>& ids);
  void show(ggml_tensor* node, int source, uint32_t tensor, std::byte* data);
  void show_slices(ggml_tensor* node, uint32_t tensor, std::byte* first, uint64_t stride_bytes);
  bool is_repacked(uint32_t tensor) const { return weights_.forms != nullptr && weights_.forms->is_repacked(tensor); }
  static void narrow(ggml_tensor* node, uint32_t n_slices);
  void renumber(ggml_tensor* node);
  void repack_for_stretch(ggml_tensor* node, uint32_t tensor);
  bool is_ready(const std::vector<ExtentId>& ids) const;
  bool next_is_ready(uint32_t tensor);
  bool needs_ids(const IdsProducer& producer) const;
  bool hold_all(uint32_t slot_class);
  void request_layer(const ggml_tensor* ids, size_t producer, const std::vector<uint32_t>& experts);
  void request_ahead(const ggml_tensor* ids, size_t layer, size_t n_experts);
  void append_extents(uint32_t tensor, const std::vector<uint32_t>& experts, std::vector<ExtentId>& ids) const;
  std::vector<ExtentId> extents_of(const IdsProducer& producer, const std::vector<uint32_t>& experts) const;
  bool has_room_ahead(const IdsProducer& later, size_t n_experts, uint32_t n_layers) const;
  bool read_ids(const ggml_tensor* ids, uint32_t n_expert);
  bool is_computed(const ggml_tensor* node) const;
  void learn_order();
  bool all_stay() const;
  bool can_be_whole() const;
  size_t routed_tokens_fitting() const;

  const GgufModel& model_;
  const WeightIndex& index_;
  Weights weights_;
  bool is_open_ = false;

  Engine::NodeObserver observer_;
  const std::atomic<bool>* abort_ = nullptr;

  PassOrder order_;
  bool order_is_known_ = false;
  std::vector<uint32_t> next_dense_, next_whole_;  // [n_tensor] the next that is read in order; kNone: no such tensor
  std::vector<ExtentId> whole_in_order_;
  std::unordered_map<const ggml_tensor*, uint32_t> tensor_of_;  // weights that were met
  RouterLookahead lookahead_;

  // Of the pass.
  PassKind kind_ = PassKind::kRouted;
  bool scan_ = false;
  mutable uint64_t fitting_in_bytes_ = 0;  // what routed_fitting_ was worked out for
  mutable size_t routed_fitting_ = 0;
  size_t n_graphs_left_ = 0;  // whose expert tensors are not all asked for
  tl::expected<void, Status> outcome_{};

  // Of the stretch being asked about.
  std::vector<const ggml_tensor*> uncomputed_;
  std::vector<ExtentId> held_;
  std::vector<uint32_t> held_classes_;
  StandIns stand_ins_;
  uint64_t shown_bytes_ = 0;        // of pinned weights that products read whole
  bool shows_what_can_go_ = false;  // weights that may be given back: freed when it ends

  uint64_t ungated_ = 0, cuts_ = 0;
  // Kept for their memory.
  std::vector<ExtentId> wanted_;
  std::vector<uint32_t> slots_, experts_;
  std::vector<int32_t> number_of_expert_;
  std::vector<bool> expert_seen_;
};

}  // namespace spillway
