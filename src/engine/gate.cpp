// SPDX-License-Identifier: MIT
#include "engine/gate.h"

#include <ggml.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/check.h"
#include "base/hash.h"

namespace spillway {
namespace {

constexpr uint32_t kNone = WeightIndex::kNone;

// From this many tokens on, a pass touches most experts and says little about which to keep.
constexpr size_t kScanTokens = 32;
// A pass that chooses so many times as many experts as a layer has uses nearly all of them: whole tensors, read in
// order, come without anybody's waiting for a router.
constexpr size_t kWholeChoices = 24;
// A stretch ends behind so many bytes of weights: what others need is not freed while it computes. A barrier takes some
// 20 us, multiplying by these some ms.
constexpr uint64_t kStretchBytes = 64 * MiB;
// Rows of an embedding are copied up to this much of them at a time.
constexpr uint64_t kRowsBytesMax = 64 * MiB;

bool is_on_device(const ggml_tensor* node) {
  return node->buffer != nullptr && !ggml_backend_buffer_is_host(node->buffer);
}

}  // namespace

Gate::Gate(const GgufModel& model, const WeightIndex& index) : model_(model), index_(index), lookahead_(index) {}

void Gate::open(const Weights& weights, PassOrder order, bool order_is_known) {
  weights_ = weights;
  order_ = std::move(order);
  order_is_known_ = order_is_known;
  is_open_ = true;
  lookahead_.use([this](uint32_t tensor) { return is_repacked(tensor) ? nullptr : weights_.pinned->data(tensor); });
  learn_order();
}

bool Gate::on_node(ggml_tensor* node, bool ask, void* self) {
  Gate& gate = *static_cast<Gate*>(self);
  return ask ? gate.ask(node) : gate.observe(node);
}

// --- passes --------------------------------------------------------------------------------------------------------

void Gate::begin_pass(size_t n_tokens, size_t n_ubatch) {
  const size_t n_graph_tokens = std::min(n_tokens, n_ubatch);
  scan_ = n_graph_tokens >= kScanTokens;
  kind_ = PassKind::kRouted;
  outcome_ = {};
  lookahead_.begin_pass();
  if (!is_open_ || weights_.store == nullptr) return;
  weights_.store->begin_pass();
  const size_t fitting = routed_tokens_fitting();
  const bool uses_all = n_graph_tokens * std::max<uint64_t>(model_.n_expert_used, 1) >= kWholeChoices * model_.n_expert;
  const bool is_long = uses_all || (fitting > 0 && n_graph_tokens > fitting);
  if (is_long && can_be_whole() && !all_stay()) kind_ = PassKind::kWhole;
  weights_.store->set_pass_kind(kind_);
  if (kind_ != PassKind::kWhole) return;
  n_graphs_left_ = (n_tokens + n_graph_tokens - 1) / n_graph_tokens;
  weights_.store->request(whole_in_order_, Priority::kCertain);
}

Result<void> Gate::end_pass() {
  end_stretch();
  if (is_open_ && weights_.store != nullptr) weights_.store->drop_interest();
  if (!order_is_known_ && is_open_ && outcome_) {
    order_is_known_ = true;
    learn_order();
  }
  return outcome_;
}

bool Gate::can_be_whole() const {
  return order_is_known_ && !whole_in_order_.empty() && weights_.store->has_room_for_whole();
}

// Of a pass whose experts the router chooses: one layer's have to fit the slots. 0: no limit.
size_t Gate::routed_tokens_fitting() const {
  const uint64_t bytes = weights_.store->allowed_bytes();
  if (std::exchange(fitting_in_bytes_, bytes) != bytes)
    routed_fitting_ =
        routed_tokens_max(*weights_.layout, model_.tensors, model_.n_expert_used, weights_.store->n_routed_slots());
  return routed_fitting_;
}

size_t Gate::pass_tokens_max() const {
  return !is_open_ || weights_.store == nullptr || can_be_whole() ? 0 : routed_tokens_fitting();
}

// --- nodes ---------------------------------------------------------------------------------------------------------

bool Gate::ask(ggml_tensor* node) {
  if (!outcome_) return true;  // stop at once: observe() ends the pass
  // A device computes what is in its own memory. It is never cut: a device fuses neighbouring operations, and what it
  // fuses rounds otherwise than what it does not. Its stretch of nodes is computed as a whole, after all before it.
  if (is_on_device(node)) {
    end_stretch();
    return false;
  }
  // A graph ends without a word where nobody asked to stop.
  if (!uncomputed_.empty() && node == uncomputed_.front()) end_stretch();
  if (uncomputed_.empty() && is_open_ && !weights_.pinned->in_stretch()) weights_.pinned->begin_stretch();
  uncomputed_.push_back(node);
  // A branch that is not taken has inputs that nobody set.
  if (computes_nothing(node) || (node->flags & GGML_TENSOR_FLAG_COMPUTE) == 0) return false;
  if (!order_is_known_) order_.note(node, index_);
  bool cut = observer_ != nullptr || (node->flags & GGML_TENSOR_FLAG_OUTPUT) != 0;
  if (is_open_) {
    cut = cut || (!order_is_known_ && weights_.store != nullptr);
    for (int s = 0; s < GGML_MAX_SRC; ++s)
      if (node->src[s] != nullptr && gate_source(node, s)) cut = true;
    if (node->type == GGML_TYPE_I32 && weights_.store != nullptr) {
      const size_t producer = order_.find_producer(node->name);
      if (producer < order_.producers().size() && needs_ids(order_.producers()[producer])) cut = true;
    }
  }
  cuts_ += cut;
  return cut;
}

bool Gate::observe(ggml_tensor* node) {
  end_stretch();
  if (abort_ != nullptr && abort_->load(std::memory_order_relaxed) && outcome_)  // only ever read again after the pass
    outcome_ = error(Code::kCancelled, "stopped");
  if (!outcome_) return false;
  if (observer_ != nullptr && node->buffer != nullptr && ggml_backend_buffer_is_host(node->buffer) &&
      ggml_is_contiguous(node)) {
    Fnv1a hash;
    hash.add(node->data, ggml_nbytes(node));
    observer_(node->name, hash.value());
  }
  return true;
}

void Gate::end_stretch() {
  uncomputed_.clear();
  shown_bytes_ = 0;
  shows_what_can_go_ = false;
  stand_ins_.put_back();
  if (weights_.pinned != nullptr && weights_.pinned->in_stretch()) weights_.pinned->end_stretch();
  for (const uint32_t slot_class : held_classes_) weights_.store->release_all(slot_class);
  held_classes_.clear();
  if (held_.empty()) return;
  weights_.store->release(held_);
  // Further graphs of this pass begin with the first expert tensors again.
  if (kind_ == PassKind::kWhole) {
    wanted_.clear();
    for (const ExtentId id : held_) {
      if (weights_.store->extent(id).pool != Pool::kWhole) continue;
      if (id == whole_in_order_.front()) --n_graphs_left_;
      if (n_graphs_left_ > 0) wanted_.push_back(id);
    }
    if (!wanted_.empty()) weights_.store->request(wanted_, Priority::kCertain);
  }
  held_.clear();
}

// --- sources -------------------------------------------------------------------------------------------------------

uint32_t Gate::tensor_of(const ggml_tensor* weight) {
  if (const auto known = tensor_of_.find(weight); known != tensor_of_.end()) return known->second;
  const uint32_t tensor = index_.find(weight->data);
  if (tensor != kNone) tensor_of_.emplace(weight, tensor);
  return tensor;
}

// What a node needs of one of its sources.
bool Gate::gate_source(ggml_tensor* node, int source) {
  const ggml_tensor* weight = root_of(node->src[source]);
  if (weight->op != GGML_OP_NONE) return false;  // an activation
  const uint32_t tensor = tensor_of(weight);
  if (tensor == kNone) return false;
  const ggml_tensor* own = node->src[source];
  const bool cut = gate_weight(node, source, tensor);
  if (!is_repacked(tensor) || node->src[source] != own || !RepackedForms::multiplies(node, source) || !outcome_)
    return cut;
  // What the mapping shows would be multiplied by other kernels.
  repack_for_stretch(node, tensor);
  return true;
}

bool Gate::gate_weight(ggml_tensor* node, int source, uint32_t tensor) {
  if (!weights_.pinned->in_stretch()) weights_.pinned->begin_stretch();
  const bool readable = !is_repacked(tensor) || RepackedForms::multiplies(node, source);
  if (std::byte* data = readable ? weights_.pinned->data(tensor) : nullptr; data != nullptr) {
    show(node, source, tensor, data);
    shown_bytes_ += node->op == GGML_OP_GET_ROWS || node->op == GGML_OP_MUL_MAT_ID ? 0 : ggml_nbytes(node->src[source]);
    if (weights_.store == nullptr || !weights_.pinned->can_go(tensor)) return false;
    shows_what_can_go_ = true;
    // While others press, what comes next may have been given back, and is read for longer than it is computed with.
    return shown_bytes_ >= kStretchBytes || !weights_.pinned->is_loaded();
  }
  if (node->op == GGML_OP_GET_ROWS && source == 0) {
    gate_rows(node, tensor);
    return false;
  }
  switch (weights_.layout->tiers[tensor]) {
    case Tier::kPinned:  // given back: others press, and the file is read
      // Meanwhile more can be freed, where nothing else that can go is in this stretch.
      if (!shows_what_can_go_ && weights_.pinned->in_stretch()) weights_.pinned->end_stretch();
      return weights_.store != nullptr;
    case Tier::kRing:
      return gate_dense(node, source, tensor);
    case Tier::kExperts:
      if (node->op == GGML_OP_MUL_MAT_ID && source == 0) return gate_experts(node, tensor);
      break;
    default:
      break;  // libllama kept it on the host after all, or uses what no pass before did
  }
  ++ungated_;
  return false;
}

// Stands in for a weight, or a view of one, that begins at `data`.
void Gate::show(ggml_tensor* node, int source, uint32_t tensor, std::byte* data) {
  if (node->op == GGML_OP_MUL_MAT_ID && is_repacked(tensor))
    return show_slices(node, tensor, data, weights_.forms->shape(tensor).slot_bytes);
  const ggml_tensor* own = node->src[source];
  const ggml_tensor* weight = root_of(own);
  ggml_tensor& stand_in = stand_ins_.copy_of(*own);
  stand_in.data = data + (static_cast<const std::byte*>(own->data) - static_cast<const std::byte*>(weight->data));
  if (is_repacked(tensor)) weights_.forms->mark(stand_in, tensor);
  stand_ins_.put(node, source, &stand_in);
}

// Stands in for an expert tensor whose slices lie `stride_bytes` apart.
void Gate::show_slices(ggml_tensor* node, uint32_t tensor, std::byte* first, uint64_t stride_bytes) {
  ggml_tensor& stand_in = stand_ins_.copy_of(*node->src[0]);
  stand_in.data = first;
  stand_in.nb[2] = stride_bytes;
  stand_in.nb[3] = stride_bytes * static_cast<uint64_t>(stand_in.ne[2]);
  if (is_repacked(tensor)) weights_.forms->mark(stand_in, tensor);
  stand_ins_.put(node, 0, &stand_in);
}

// The first `n_slices` of the slices that a node was shown are all there are.
void Gate::narrow(ggml_tensor* node, uint32_t n_slices) {
  node->src[0]->ne[2] = n_slices;
  node->src[0]->nb[3] = node->src[0]->nb[2] * n_slices;
}

// Ids that count what was shown: expert e is number_of_expert_[e].
void Gate::renumber(ggml_tensor* node) {
  const ggml_tensor* ids = node->src[2];
  std::vector<int32_t>& numbers = stand_ins_.ids(static_cast<size_t>(ids->ne[0] * ids->ne[1]));
  for (int64_t token = 0; token < ids->ne[1]; ++token) {
    const auto* row = static_cast<const std::byte*>(ids->data) + token * ids->nb[1];
    for (int64_t k = 0; k < ids->ne[0]; ++k)
      numbers[static_cast<size_t>(token * ids->ne[0] + k)] =
          number_of_expert_[static_cast<size_t>(*reinterpret_cast<const int32_t*>(row + k * ids->nb[0]))];
  }
  ggml_tensor& their_numbers = stand_ins_.copy_of(*ids);
  their_numbers.data = numbers.data();
  their_numbers.nb[0] = sizeof(int32_t);
  their_numbers.nb[1] = sizeof(int32_t) * static_cast<size_t>(ids->ne[0]);
  their_numbers.nb[2] = their_numbers.nb[3] = their_numbers.nb[1] * static_cast<size_t>(ids->ne[1]);
  stand_ins_.put(node, 2, &their_numbers);
}

// A weight that is in no memory of ours (now): put into its form from the file, for this stretch alone.
void Gate::repack_for_stretch(ggml_tensor* node, uint32_t tensor) {
  const TensorInfo& info = model_.tensors[tensor];
  const ggml_tensor* ids = node->op == GGML_OP_MUL_MAT_ID ? node->src[2] : nullptr;
  const bool some = ids != nullptr && ids->data != nullptr && !is_on_device(ids) && is_computed(producer_of(ids)) &&
                    read_ids(ids, info.slices);
  if (!some) {
    experts_.resize(info.slices);
    std::iota(experts_.begin(), experts_.end(), 0);
  }
  const uint64_t slot_bytes = weights_.forms->shape(tensor).slot_bytes;
  const auto* file = static_cast<const std::byte*>(node->src[0]->data);
  std::byte* bytes = stand_ins_.bytes(experts_.size() * slot_bytes);
  number_of_expert_.resize(info.slices);
  for (size_t i = 0; i < experts_.size(); ++i) {
    const uint64_t slice = experts_[i];
    weights_.forms->place(tensor, {0, info.slice_bytes()}, file + slice * info.slice_bytes(), bytes + i * slot_bytes);
    number_of_expert_[slice] = static_cast<int32_t>(i);
  }
  if (node->op != GGML_OP_MUL_MAT_ID) return show(node, 0, tensor, bytes);
  show_slices(node, tensor, bytes, slot_bytes);
  if (!some) return;
  narrow(node, static_cast<uint32_t>(experts_.size()));
  renumber(node);
}

bool Gate::gate_dense(ggml_tensor* node, int source, uint32_t tensor) {
  const ExtentId id{weights_.layout->first_extent[tensor]};
  wanted_.assign({id});
  const Acquired acquired = acquire(wanted_);
  if (acquired == Acquired::kNot) return true;
  const Extent& extent = weights_.store->extent(id);
  show(node, source, tensor, weights_.store->area(extent.slot_class).slot(slots_.front()) + extent.data_offset);
  return acquired == Acquired::kLast || !next_is_ready(tensor);
}

// Rows are read from the file into memory of our own: a token needs a few KiB of a table of hundreds of MiB.
void Gate::gate_rows(ggml_tensor* node, uint32_t tensor) {
  const ggml_tensor *table = node->src[0], *ids = node->src[1];
  const bool plain = ids != nullptr && ids->type == GGML_TYPE_I32 && ggml_is_contiguous(ids) && ids->data != nullptr &&
                     !is_on_device(ids) && is_computed(producer_of(ids)) && table->view_src == nullptr &&
                     table->ne[2] == 1 && table->ne[3] == 1;
  if (!plain) return void(++ungated_);
  // 1. Which rows, each once. Ids that are none are ggml's to refuse.
  const auto* wanted = static_cast<const int32_t*>(ids->data);
  const auto n = static_cast<size_t>(ggml_nelements(ids));
  std::vector<int32_t>& rows = stand_ins_.ids(n);
  rows.assign(wanted, wanted + n);
  std::sort(rows.begin(), rows.end());
  rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
  const uint64_t row_bytes = table->nb[1];
  if (n == 0 || rows.front() < 0 || rows.back() >= table->ne[1] || rows.size() * row_bytes > kRowsBytesMax)
    return void(++ungated_);
  // 2. Their bytes.
  const TensorInfo& info = model_.tensors[tensor];
  const File& file = *model_.files[info.file];
  std::byte* bytes = stand_ins_.bytes(rows.size() * row_bytes);
  const auto offset_of = [&](size_t i) { return info.range.offset + static_cast<uint64_t>(rows[i]) * row_bytes; };
  if (rows.size() > 1)
    for (size_t i = 0; i < rows.size(); ++i) file.expect_read(offset_of(i), row_bytes);
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto got = file.read_at(offset_of(i), {bytes + i * row_bytes, row_bytes});
    if (!got) outcome_ = Failure(got.error());
    if (got && *got < row_bytes) outcome_ = Failure(read_failure(file, offset_of(i), static_cast<int64_t>(*got)));
    if (!outcome_) return;
  }
  // 3. A table of these rows alone, and ids that count them.
  std::vector<int32_t>& numbers = stand_ins_.ids(n);
  for (size_t i = 0; i < n; ++i)
    numbers[i] = static_cast<int32_t>(std::lower_bound(rows.begin(), rows.end(), wanted[i]) - rows.begin());
  ggml_tensor& some_rows = stand_ins_.copy_of(*table);
  some_rows.data = bytes;
  some_rows.ne[1] = static_cast<int64_t>(rows.size());
  some_rows.nb[2] = some_rows.nb[3] = rows.size() * row_bytes;
  ggml_tensor& their_numbers = stand_ins_.copy_of(*ids);
  their_numbers.data = numbers.data();
  stand_ins_.put(node, 0, &some_rows);
  stand_ins_.put(node, 1, &their_numbers);
}

// --- experts -------------------------------------------------------------------------------------------------------

bool Gate::gate_experts(ggml_tensor* node, uint32_t tensor) {
  if (kind_ == PassKind::kWhole && weights_.layout->whole_extent[tensor] != Layout::kNoExtent)
    return gate_whole(node, tensor);
  const ExtentId first{weights_.layout->first_extent[tensor]};
  const Extent& extent = weights_.store->extent(first);
  if (!hold_all(extent.slot_class)) return gate_routed(node, tensor);
  // All experts are there, each in its own slot.
  const SlotArea area = weights_.store->area(extent.slot_class);
  show_slices(node, tensor, area.slot(weights_.store->number_in_class(first)) + extent.data_offset, area.slot_bytes);
  return false;
}

// In a long pass all slices are read in a row, as they are in the file.
bool Gate::gate_whole(ggml_tensor* node, uint32_t tensor) {
  const ExtentId id{weights_.layout->whole_extent[tensor]};
  wanted_.assign({id});
  const Acquired acquired = acquire(wanted_);
  if (acquired == Acquired::kNot) return true;
  const Extent& extent = weights_.store->extent(id);
  const uint64_t in_memory_bytes = weights_.layout->shapes[tensor].slot_bytes;
  show_slices(node, tensor, weights_.store->area(extent.slot_class).slot(slots_.front()) + extent.data_offset,
              in_memory_bytes > 0 ? in_memory_bytes : model_.tensors[tensor].slice_bytes());
  return acquired == Acquired::kLast || !next_is_ready(tensor);
}

// The slices that the ids name, wherever they lie: a window of slots, and ids that number its slots.
bool Gate::gate_routed(ggml_tensor* node, uint32_t tensor) {
  const ggml_tensor* ids = node->src[2];
  const ggml_tensor* producer = producer_of(ids);
  CHECK(ids != nullptr && producer != nullptr);
  const size_t p = order_.find_producer(producer->name);
  if (!is_computed(producer) || p == order_.producers().size() || !read_ids(ids, model_.tensors[tensor].slices)) {
    ++ungated_;  // met for the first time, or ids that are none
    return true;
  }
  const IdsProducer& known = order_.producers()[p];
  lookahead_.learn(known.name, ids);
  if (tensor == known.users.front()) request_layer(ids, p, experts_);
  // 1. They are there.
  wanted_.clear();
  append_extents(tensor, experts_, wanted_);
  const Acquired acquired = acquire(wanted_);
  if (acquired == Acquired::kNot) return true;
  // 2. The window, and each expert's number in it.
  const auto [lowest, highest] = std::minmax_element(slots_.begin(), slots_.end());
  number_of_expert_.resize(model_.tensors[tensor].slices);
  for (size_t i = 0; i < experts_.size(); ++i)
    number_of_expert_[experts_[i]] = static_cast<int32_t>(slots_[i] - *lowest);
  const Extent& extent = weights_.store->extent(wanted_.front());
  const SlotArea area = weights_.store->area(extent.slot_class);
  show_slices(node, tensor, area.slot(*lowest) + extent.data_offset, area.slot_bytes);
  narrow(node, *highest - *lowest + 1);
  renumber(node);
  // 3. Where the next matrix still has to be read, this one is multiplied meanwhile.
  if (acquired == Acquired::kLast) return true;
  const auto next = std::find(known.users.begin(), known.users.end(), tensor) + 1;
  if (next == known.users.end()) return false;
  wanted_.clear();
  append_extents(*next, experts_, wanted_);
  return !is_ready(wanted_);
}

bool Gate::needs_ids(const IdsProducer& producer) const {
  if (kind_ == PassKind::kWhole) return false;
  return std::any_of(producer.users.begin(), producer.users.end(), [this](uint32_t tensor) {
    if (weights_.layout->tiers[tensor] != Tier::kExperts) return false;
    const ExtentId first{weights_.layout->first_extent[tensor]};
    return !weights_.store->is_complete(weights_.store->extent(first).slot_class);
  });
}

bool Gate::all_stay() const {
  for (uint32_t c = 0; c < weights_.layout->classes.size(); ++c)
    if (weights_.layout->classes[c].pool == Pool::kExperts && !weights_.store->is_complete(c)) return false;
  return true;
}

bool Gate::hold_all(uint32_t slot_class) {
  if (std::find(held_classes_.begin(), held_classes_.end(), slot_class) != held_classes_.end()) return true;
  if (!weights_.store->acquire_all(slot_class)) return false;
  held_classes_.push_back(slot_class);
  return true;
}

// Whether all ids are experts; which, each once, in experts_.
bool Gate::read_ids(const ggml_tensor* ids, uint32_t n_expert) {
  experts_.clear();
  expert_seen_.assign(n_expert, false);
  for (int64_t token = 0; token < ids->ne[1]; ++token) {
    const auto* row = static_cast<const std::byte*>(ids->data) + token * ids->nb[1];
    for (int64_t k = 0; k < ids->ne[0]; ++k) {
      const int32_t expert = *reinterpret_cast<const int32_t*>(row + k * ids->nb[0]);
      if (expert < 0 || static_cast<uint32_t>(expert) >= n_expert) return false;
      if (expert_seen_[static_cast<size_t>(expert)]) continue;
      expert_seen_[static_cast<size_t>(expert)] = true;
      experts_.push_back(static_cast<uint32_t>(expert));
    }
  }
  return !experts_.empty();
}

bool Gate::is_computed(const ggml_tensor* node) const {
  return std::find(uncomputed_.rbegin(), uncomputed_.rend(), node) == uncomputed_.rend();
}

// --- the store -----------------------------------------------------------------------------------------------------

// Holds `ids` until the stretch ends; slots_ gets their slots.
Gate::Acquired Gate::acquire(const std::vector<ExtentId>& ids) {
  const auto acquired = weights_.store->acquire(ids, scan_, slots_);
  if (!acquired) {
    ++ungated_;
    if (acquired.error().code() != Code::kOutOfBudget) outcome_ = Failure(acquired.error());
    return Acquired::kNot;
  }
  held_.insert(held_.end(), ids.begin(), ids.end());
  return *acquired ? Acquired::kWithRoom : Acquired::kLast;
}

// Resident, with room to hold them beside what is held: a node that needs them computes in this stretch.
bool Gate::is_ready(const std::vector<ExtentId>& ids) const { return weights_.store->is_ready(ids); }

bool Gate::next_is_ready(uint32_t tensor) {
  const uint32_t next = (kind_ == PassKind::kWhole ? next_whole_ : next_dense_)[tensor];
  if (next == kNone) return true;
  const bool whole = kind_ == PassKind::kWhole && weights_.layout->whole_extent[next] != Layout::kNoExtent;
  wanted_.assign({ExtentId{(whole ? weights_.layout->whole_extent : weights_.layout->first_extent)[next]}});
  return is_ready(wanted_);
}

// Which tensor follows which of those that are read in order.
void Gate::learn_order() {
  const auto next_of = [&](auto is_read_in_order) {
    std::vector<uint32_t> next(model_.tensors.size(), kNone);
    uint32_t first = kNone, last = kNone;
    for (const WeightUse& use : order_.uses()) {
      if (!is_read_in_order(use.tensor) || next[use.tensor] != kNone || use.tensor == last) continue;
      if (first == kNone) first = use.tensor;
      if (last != kNone) next[last] = use.tensor;
      last = use.tensor;
    }
    if (last != kNone && last != first) next[last] = first;
    return next;
  };
  const std::vector<Tier>& tiers = weights_.layout->tiers;
  next_dense_ = next_of([&](uint32_t t) { return tiers[t] == Tier::kRing; });
  next_whole_ = next_of([&](uint32_t t) { return tiers[t] == Tier::kRing || tiers[t] == Tier::kExperts; });
  whole_in_order_.clear();
  for (const IdsProducer& producer : order_.producers())
    for (const uint32_t t : producer.users)
      if (weights_.layout->whole_extent[t] != Layout::kNoExtent)
        whole_in_order_.push_back(ExtentId{weights_.layout->whole_extent[t]});
}

void Gate::append_extents(uint32_t tensor, const std::vector<uint32_t>& experts, std::vector<ExtentId>& ids) const {
  if (weights_.layout->tiers[tensor] != Tier::kExperts) return;  // it stays
  const uint32_t first = weights_.layout->first_extent[tensor];
  // A guess is one of a router's rows, which may be more than there are experts.
  for (const uint32_t expert : experts)
    if (expert < model_.tensors[tensor].slices) ids.push_back(ExtentId{first + expert});
}

std::vector<ExtentId> Gate::extents_of(const IdsProducer& producer, const std::vector<uint32_t>& experts) const {
  std::vector<ExtentId> ids;
  for (const uint32_t tensor : producer.users) append_extents(tensor, experts, ids);
  return ids;
}

// The ids of a layer are known: everything it will multiply by them is asked for now, in order of use, so that the
// reads of the later matrices run while the first is computed.
void Gate::request_layer(const ggml_tensor* ids, size_t producer, const std::vector<uint32_t>& experts) {
  const IdsProducer& known = order_.producers()[producer];
  weights_.store->request(extents_of(known, experts), Priority::kDemand, scan_);
  const std::vector<uint32_t> guessed_wrong = lookahead_.judge(known.name, experts);
  if (!guessed_wrong.empty()) weights_.store->cancel(extents_of(known, guessed_wrong));
  if (!scan_) request_ahead(ids, producer, experts.size());
}

// The disk goes on while layer number `layer` computes: with what is guessed for the next one or, when all of that is
// resident and the disk would come to rest, for the one behind it, and so on.
void Gate::request_ahead(const ggml_tensor* ids, size_t layer, size_t n_experts) {
  std::vector<ExtentId> wanted, withdrawn;
  const auto append = [](std::vector<ExtentId>& all, const std::vector<ExtentId>& more) {
    all.insert(all.end(), more.begin(), more.end());
  };
  for (uint32_t n = 1; n <= RouterLookahead::kLayersMax && layer + n < order_.producers().size(); ++n) {
    const IdsProducer& later = order_.producers()[layer + n];
    if (!has_room_ahead(later, n_experts, n)) break;
    const RouterLookahead::Guess guess = lookahead_.guess(ids, later.name, n);
    if (guess.experts.empty()) break;
    const std::vector<ExtentId> extents = extents_of(later, guess.experts);
    append(wanted, extents);
    append(withdrawn, extents_of(later, guess.withdrawn));
    if (!weights_.store->all_resident(extents)) break;
  }
  if (!withdrawn.empty()) weights_.store->cancel(withdrawn);
  if (!wanted.empty()) weights_.store->request(wanted, Priority::kLikely);
}

// Whether slots are left to read ahead into when all layers up to that one hold theirs: with fewer, what is read early
// pushes out what is hot.
bool Gate::has_room_ahead(const IdsProducer& later, size_t n_experts, uint32_t n_layers) const {
  const uint32_t tensor = later.users.front();
  if (weights_.layout->tiers[tensor] != Tier::kExperts) return false;
  const ExtentId first{weights_.layout->first_extent[tensor]};
  const uint32_t n_slots = weights_.store->n_slots(weights_.store->extent(first).slot_class);
  return n_slots >= 2 * (1 + n_layers) * later.users.size() * n_experts;
}

}  // namespace spillway
