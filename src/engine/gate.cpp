// SPDX-License-Identifier: MIT
#include "engine/gate.h"

#include <ggml.h>

#include <algorithm>
#include <numeric>

#include "base/check.h"
#include "base/hash.h"

namespace spillway {
namespace {

// Nodes that only rename memory.
bool computes_nothing(const ggml_tensor* node) {
  switch (node->op) {
    case GGML_OP_NONE:
    case GGML_OP_VIEW:
    case GGML_OP_RESHAPE:
    case GGML_OP_PERMUTE:
    case GGML_OP_TRANSPOSE:
      return true;
    default:
      return false;
  }
}

// The node that computes the memory `node` shows: through views and reshapes.
const ggml_tensor* producer_of(const ggml_tensor* node) {
  while (node != nullptr && computes_nothing(node) && node->src[0] != nullptr) node = node->src[0];
  return node;
}

// From this many tokens on, a pass touches most experts and says little about which to keep.
constexpr size_t kScanTokens = 32;

}  // namespace

Gate::Gate(const GgufModel& model, const Placement& placement, const Layout& layout, const WeightIndex& index,
           TestSwitches test)
    : model_(model), placement_(placement), layout_(layout), index_(index), test_(test), lookahead_(index) {}

bool Gate::on_node(ggml_tensor* node, bool ask, void* self) {
  Gate& gate = *static_cast<Gate*>(self);
  return ask ? gate.ask(node) : gate.observe(node);
}

void Gate::begin_pass(size_t n_tokens) {
  scan_ = n_tokens >= kScanTokens;
  outcome_ = {};
  uncomputed_.clear();
  lookahead_.begin_pass();
}

Result<void> Gate::end_pass() {
  release();
  if (cache_ != nullptr) cache_->drop_interest();
  learned_ = learned_ || outcome_.has_value();
  return outcome_;
}

bool Gate::ask(ggml_tensor* node) {
  if (!outcome_) return true;  // stop at once: observe() ends the pass
  // A device computes what is in its own memory. It is never cut: a device fuses neighbouring operations, and what it
  // fuses rounds otherwise than what it does not. Its stretch of nodes is computed as a whole, after all before it.
  if (node->buffer != nullptr && !ggml_backend_buffer_is_host(node->buffer)) {
    uncomputed_.clear();
    return false;
  }
  uncomputed_.push_back(node);
  if (computes_nothing(node)) return false;
  wanted_.clear();
  for (int s = 0; s < GGML_MAX_SRC; ++s)
    if (node->src[s] != nullptr) gate_source(node, s);
  const bool gated = !wanted_.empty() || eviction_forbidden_;
  if (!wanted_.empty() && !test_.skip_gate && !eviction_forbidden_) acquire();
  return gated || !learned_ || observer_ != nullptr || users_of_ids_.contains(node->name);
}

bool Gate::observe(ggml_tensor* node) {
  uncomputed_.clear();
  release();
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

// What a node needs of one of its sources.
void Gate::gate_source(ggml_tensor* node, int source) {
  if (cache_ == nullptr) return;
  const uint32_t tensor = index_.find(node->src[source]->data);
  if (tensor == WeightIndex::kNone) return;
  const Tier tier = placement_.tiers[tensor];
  if (tier == Tier::kRows) return warm_rows(node, tensor);
  if (tier == Tier::kDevice) return leave_ungated();  // libllama kept it on the host after all
  if (tier != Tier::kRing && tier != Tier::kExperts) return;
  const uint32_t first = layout_.first_extent[tensor];
  if (tier == Tier::kExperts && node->op == GGML_OP_MUL_MAT_ID && source == 0) return gate_experts(node, tensor);
  for (uint32_t s = 0; s < model_.tensors[tensor].slices; ++s) wanted_.push_back(ExtentId{first + s});
}

void Gate::gate_experts(ggml_tensor* node, uint32_t tensor) {
  const ggml_tensor* ids = node->src[2];
  const ggml_tensor* producer = producer_of(ids);
  CHECK(ids != nullptr && producer != nullptr);
  const std::string name = producer->name;
  std::vector<uint32_t>& users = users_of_ids_[name];
  if (users.empty()) producers_.push_back(name);
  if (std::find(users.begin(), users.end(), tensor) == users.end()) users.push_back(tensor);
  if (!is_computed(producer))
    return leave_ungated();  // met for the first time: from the next pass on the graph is cut there
  const std::vector<uint32_t> experts = read_ids(ids, model_.tensors[tensor].slices);
  lookahead_.learn(name, ids);
  if (tensor == users.front() && !test_.skip_gate) request_layer(ids, name, experts);
  for (const uint32_t expert : experts) wanted_.push_back(ExtentId{layout_.first_extent[tensor] + expert});
}

// Rows of an embedding are read through the page cache, so that computing finds them there: a token needs a few KiB of
// a table of hundreds of MiB.
void Gate::warm_rows(ggml_tensor* node, uint32_t tensor) {
  const ggml_tensor* ids = node->src[1];
  if (node->op != GGML_OP_GET_ROWS || ids == nullptr || ids->type != GGML_TYPE_I32 || !is_computed(producer_of(ids))) {
    ++ungated_;
    return;
  }
  const ggml_tensor* table = node->src[0];
  CHECK(table != nullptr);
  const TensorInfo& info = model_.tensors[tensor];
  const uint64_t row_bytes = table->nb[1];
  row_scratch_.resize(row_bytes);
  const auto* rows = static_cast<const int32_t*>(ids->data);
  for (int64_t i = 0; i < ggml_nelements(ids); ++i) {
    const auto offset = static_cast<uint64_t>(rows[i]) * row_bytes;
    if (rows[i] < 0 || offset + row_bytes > info.range.bytes) continue;  // ggml checks ids itself
    auto read = model_.files[info.file]->read_at(info.range.offset + offset, row_scratch_);
    if (!read) outcome_ = tl::unexpected<Status>(read.error());
  }
}

void Gate::acquire() {
  std::sort(wanted_.begin(), wanted_.end());
  wanted_.erase(std::unique(wanted_.begin(), wanted_.end()), wanted_.end());
  bool too_many = false;
  const auto acquire_holdable = [&]() -> Result<void> {
    const size_t n = cache_->holdable(wanted_);
    too_many = too_many || n < wanted_.size();
    wanted_.resize(n);
    return cache_->acquire(wanted_, scan_);
  };
  auto acquired = acquire_holdable();
  // The cache shrank between the question and the deed.
  while (!acquired && acquired.error().code() == Code::kOutOfBudget && cache_->holdable(wanted_) < wanted_.size())
    acquired = acquire_holdable();
  if (too_many) leave_ungated();  // more at once than the slots hold
  if (!acquired) {
    outcome_ = tl::unexpected<Status>(acquired.error());
    return;
  }
  held_.insert(held_.end(), wanted_.begin(), wanted_.end());
}

// The node reads streamed weights that it does not hold: through the kernel's mapping, as far as they are absent.
void Gate::leave_ungated() {
  ++ungated_;
  eviction_forbidden_ = true;
  cache_->forbid_eviction();
}

void Gate::release() {
  if (eviction_forbidden_) cache_->allow_eviction();
  eviction_forbidden_ = false;
  if (held_.empty()) return;
  cache_->release(held_);
  held_.clear();
}

std::vector<ExtentId> Gate::extents_of(const std::string& producer, const std::vector<uint32_t>& experts) const {
  std::vector<ExtentId> ids;
  for (const uint32_t tensor : users_of_ids_.at(producer))
    for (const uint32_t expert : experts) ids.push_back(ExtentId{layout_.first_extent[tensor] + expert});
  return ids;
}

// The ids of a layer are known: everything it will multiply by them is asked for now, in order of use, so that the
// reads of the later matrices run while the first is computed.
void Gate::request_layer(const ggml_tensor* ids, const std::string& producer, const std::vector<uint32_t>& experts) {
  cache_->request(extents_of(producer, experts), Priority::kDemand, scan_);
  const std::vector<uint32_t> guessed_wrong = lookahead_.judge(producer, experts);
  if (!guessed_wrong.empty()) cache_->cancel(extents_of(producer, guessed_wrong));
  const auto at = std::find(producers_.begin(), producers_.end(), producer);
  if (at == producers_.end() || at + 1 == producers_.end()) return;
  if (scan_) return request_whole_layer(*(at + 1), experts.size());
  request_ahead(ids, static_cast<size_t>(at - producers_.begin()), experts.size());
}

// A pass that touches nearly all experts of one layer will do so in the next.
void Gate::request_whole_layer(const std::string& next, size_t n_experts) {
  std::vector<uint32_t> all(model_.tensors[users_of_ids_.at(next).front()].slices);
  if (n_experts * 10 < all.size() * 9) return;
  std::iota(all.begin(), all.end(), 0u);
  cache_->request(extents_of(next, all), Priority::kCertain);
}

// The disk goes on while layer number `layer` computes: with what is guessed for the next one or, when all of that is
// resident and the disk would come to rest, for the one behind it, and so on.
void Gate::request_ahead(const ggml_tensor* ids, size_t layer, size_t n_experts) {
  std::vector<ExtentId> wanted, withdrawn;
  const auto append = [](std::vector<ExtentId>& all, const std::vector<ExtentId>& more) {
    all.insert(all.end(), more.begin(), more.end());
  };
  for (uint32_t n = 1; n <= RouterLookahead::kLayersMax && layer + n < producers_.size(); ++n) {
    const std::string& later = producers_[layer + n];
    if (!has_room_ahead(later, n_experts, n)) break;
    const RouterLookahead::Guess guess = lookahead_.guess(ids, later, n);
    if (guess.experts.empty()) break;
    const std::vector<ExtentId> extents = extents_of(later, guess.experts);
    append(wanted, extents);
    append(withdrawn, extents_of(later, guess.withdrawn));
    if (!cache_->all_resident(extents)) break;
  }
  if (!withdrawn.empty()) cache_->cancel(withdrawn);
  if (!wanted.empty()) cache_->request(wanted, Priority::kLikely);
}

// Whether slots are left to read ahead into when all layers up to that one hold theirs: with fewer, what is read early
// pushes out what is hot.
bool Gate::has_room_ahead(const std::string& later, size_t n_experts, uint32_t n_layers) const {
  const std::vector<uint32_t>& users = users_of_ids_.at(later);
  const uint32_t n_slots = cache_->n_slots(layout_.slot_class[layout_.first_extent[users.front()]]);
  return n_slots >= 2 * (1 + n_layers) * users.size() * n_experts;
}

std::vector<uint32_t> Gate::read_ids(const ggml_tensor* ids, uint32_t n_expert) const {
  std::vector<uint32_t> experts;
  std::vector<bool> seen(n_expert);
  for (int64_t token = 0; token < ids->ne[1]; ++token) {
    const auto* row = static_cast<const std::byte*>(ids->data) + token * ids->nb[1];
    for (int64_t k = 0; k < ids->ne[0]; ++k) {
      const int32_t expert = *reinterpret_cast<const int32_t*>(row + k * ids->nb[0]);
      if (expert < 0 || static_cast<uint32_t>(expert) >= n_expert || seen[expert]) continue;
      seen[expert] = true;
      experts.push_back(static_cast<uint32_t>(expert));
    }
  }
  return experts;
}

bool Gate::is_computed(const ggml_tensor* node) const {
  return std::find(uncomputed_.begin(), uncomputed_.end(), node) == uncomputed_.end();
}

}  // namespace spillway
