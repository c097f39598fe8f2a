// SPDX-License-Identifier: MIT
// Weights in memory of ours: all of them, or what is used at the time.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <string>
#include <utility>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/saturating_sub.h"
#include "engine/load_context.h"
#include "engine/load_steps.h"
#include "layout/tuning.h"
#include "os/machine.h"
#include "os/memory.h"
#include "os/task_limit.h"
#include "plan/model_facts.h"
#include "plan/repacking.h"
#include "store/heat_profile.h"

namespace spillway {
namespace {

// Two loads measure that much more or less of the process.
constexpr uint64_t kMeasuredDiffersBytes = 4 * MiB;
// At disk and processor while weights are loaded for good. With what was probed before, an odd number.
constexpr size_t kSamples = 6;

// --- 1. what is left for the weights beside everything else, and where with it each tensor lives

struct Fitted {
  Decision decision;
  EngineContext context;
  ModelInfo info;
  uint64_t other_bytes = 0;
  Layout layout;
  std::string why;  // the mode
};

// Products read such a weight repacked, and rows of it are read from the file.
bool any_used_in_two_ways(const MappedModel& mapped) {
  for (uint32_t t = 0; t < mapped.request.gguf.tensors.size(); ++t)
    if (mapped.forms.has_rows(t)) return true;
  return false;
}

// KV cache and buffers are reserved; what they may grow to is what the budget cannot give to weights.
Result<Fitted> reserve_context(const MappedModel& mapped, const Decision& decision) {
  const LoadRequest& request = mapped.request;
  const bool gated = decision.mode == Mode::kStream || request.options.observable || any_used_in_two_ways(mapped);
  Fitted fitted;
  fitted.decision = decision;
  const ProcessUsage before = process_usage();
  ASSIGN_OR_RETURN(fitted.context, make_context(mapped, decision, gated));
  ASSIGN_OR_RETURN(fitted.info, describe(mapped, decision, fitted.context));
  const ProcessUsage after = process_usage();
  const uint64_t reserved_bytes = saturating_sub(after.data_bytes, before.data_bytes);
  fitted.other_bytes = std::max(before.rss_bytes + reserved_bytes, after.rss_bytes) + kGrowthBytes +
                       adapter_growth_bytes(request, fitted.context.llama.get()) + mapped.projector_later_bytes +
                       decision.reserve_bytes;
  return fitted;
}

// What a layout of the host's weights is made from, now that the model is mapped and its graph was seen.
LayoutRequest layout_request(const SeenModel& seen, const Decision& decision, uint64_t weights_budget_bytes) {
  const LoadRequest& request = seen.mapped->request;
  const std::vector<TensorInfo>& tensors = request.gguf.tensors;
  const uint64_t extent_bytes_min = request.options.extent_bytes_min;
  LayoutRequest wanted{
      .tensors = &tensors,
      .on_device = decision.on_device,
      .unused = std::vector<bool>(tensors.size()),
      .alignment = {.offset = 1, .memory = 1},
      // A device that computes the output has a copy of the embedding; of the host's only rows are read.
      .tied_embedding = !request.gguf.has_output && !decision.devices.any(),
      .n_expert_used = request.gguf.n_expert_used,
      .extent_bytes_min = extent_bytes_min > 0 ? extent_bytes_min : kExtentBytesMin,
      .weights_budget_bytes = weights_budget_bytes,
      .pin_all = decision.mode == Mode::kResident};
  for (size_t t = 0; t < tensors.size(); ++t) wanted.unused[t] = tensors[t].unused;
  for (const auto& file : request.gguf.files) {
    const ReadAlignment alignment = file->read_alignment();
    wanted.alignment.offset = std::max<uint64_t>(wanted.alignment.offset, alignment.offset);
    wanted.alignment.memory = std::max<uint64_t>(wanted.alignment.memory, alignment.memory);
  }
  for (uint32_t t = 0; t < tensors.size(); ++t) wanted.shapes.push_back(seen.mapped->forms.shape(t));
  std::vector<bool> named(tensors.size());
  for (const WeightUse& use : seen.walk.order.uses()) {
    if (named[use.tensor]) continue;
    named[use.tensor] = true;
    wanted.order.push_back(use.tensor);
  }
  return wanted;
}

// For someone whose budget was too small by what was measured, though not by the plan.
Failure too_small(const LoadRequest& request, const Fitted& fitted, uint64_t weights_bytes_min) {
  const LoadOptions& options = request.options;
  if (options.weights_bytes > 0)
    return Failure(weights_too_small(options.weights_bytes, weights_bytes_min).with_context(options.path));
  return Failure(
      budget_too_small({.ram_bytes = request.budget_bytes,
                        .least_bytes = round_up(weights_bytes_min + fitted.other_bytes + kMeasuredDiffersBytes, MiB),
                        .weight_bytes = request.weight_bytes,
                        .n_ctx = fitted.decision.context.n_ctx,
                        .n_contexts = options.shared_context ? 1 : options.n_seq_max,
                        .mode = options.mode})
          .with_context(options.path));
}

// Where what was measured is more than what was planned, buffers shrink first, then a resident model streams; and one
// that was to stream may fit after all. A model turns once: what two contexts measure differs by some MiB, and near the
// border it would turn for ever.
Result<Fitted> fit(const SeenModel& seen, const Measured& measured, Decision decision) {
  const LoadRequest& request = seen.mapped->request;
  bool has_turned = false;
  for (;; give_back_freed_memory()) {  // of a context that is gone by then
    ASSIGN_OR_RETURN(Fitted fitted, reserve_context(*seen.mapped, decision));
    const ContextShape& made = fitted.context.shape;
    const uint64_t budget_bytes = request.options.weights_bytes > 0
                                      ? request.options.weights_bytes
                                      : saturating_sub(request.budget_bytes, fitted.other_bytes);
    const LayoutRequest wanted = layout_request(seen, decision, budget_bytes);
    const uint64_t all_bytes = resident_bytes(wanted);
    const bool stays = decision.mode == Mode::kResident;
    auto smaller = with_smaller_buffers(request, decision, made);
    if (stays && all_bytes > budget_bytes && smaller) {
      decision = *std::move(smaller);
      continue;
    }
    const auto choice = mode_for(all_bytes, budget_bytes, request.options.mode);
    if (!choice) return stays ? too_small(request, fitted, all_bytes) : Failure(choice.error());
    if (stays && choice->mode == Mode::kStream) {
      decision.mode = Mode::kStream;
      has_turned = true;
      continue;
    }
    if (!stays && !has_turned && choice->mode != Mode::kStream) {
      decision = resident_instead(request, measured, decision, made);
      continue;
    }
    auto layout = lay_out(wanted);
    if (layout) {
      fitted.layout = *std::move(layout);
      fitted.why = choice->why;
      return fitted;
    }
    if (stays || layout.error().code() != Code::kOutOfBudget) return Failure(layout.error());
    if (!smaller) return too_small(request, fitted, least_bytes(wanted));
    decision = *std::move(smaller);
  }
}

// --- 2. what stays is read, what streams starts to

// 0..1 of what is read while loading, behind what libllama did.
class LoadProgress {
 public:
  LoadProgress(const LoadOptions& options, uint64_t bytes_all)
      : options_(options), bytes_all_(static_cast<double>(std::max<uint64_t>(bytes_all, 1))) {}
  bool operator()(uint64_t bytes) const {
    const double fraction = static_cast<double>(bytes) / bytes_all_;
    return !options_.progress || options_.progress(0.05 + 0.95 * std::min(fraction, 1.0));
  }

 private:
  const LoadOptions& options_;
  const double bytes_all_;
};

// Puts weights into their forms.
Place place_of(const MappedModel& mapped) {
  return [&forms = mapped.forms](uint32_t tensor, ByteRange part, const std::byte* from, std::byte* to) {
    forms.place(tensor, part, from, to);
  };
}

// In `n_parts` parts of about the same length; calls `between` behind each.
Result<std::unique_ptr<PinnedWeights>> read_pinned(const MappedModel& mapped, const Layout& layout, uint32_t read_bytes,
                                                   IoQueue& queue, size_t n_parts, const LoadProgress& progress,
                                                   const std::function<void()>& between) {
  const LoadRequest& request = mapped.request;
  ASSIGN_OR_RETURN(auto pinned, PinnedWeights::open(
                                    layout, request.gguf.tensors,
                                    {.files = request.files(), .read_bytes = read_bytes, .place = place_of(mapped)}));
  Workers workers(std::max(1u, request.options.n_threads));
  const uint64_t part_bytes = layout.pinned_bytes / n_parts + 1;
  uint64_t done_bytes = 0;
  while (!pinned->is_loaded()) {
    uint64_t loaded_bytes = 0;
    RETURN_IF_ERROR(pinned->load(part_bytes, queue, workers, [&](uint64_t bytes) {
      loaded_bytes = bytes;
      return progress(done_bytes + bytes);
    }));
    done_bytes += loaded_bytes;
    between();
  }
  return pinned;
}

std::string heat_key_of(const GgufModel& gguf) {
  Fnv1a hash;
  for (const TensorInfo& tensor : gguf.tensors) {
    hash.add(tensor.name.data(), tensor.name.size());
    hash.add(&tensor.range, sizeof tensor.range);
  }
  for (const auto& file : gguf.files) {
    const int64_t modified_ns = file->identity().modified_ns;
    hash.add(&modified_ns, sizeof modified_ns);
  }
  return fmt::format("{} {} {:016x}", gguf.architecture, gguf.weight_bytes(), hash.value());
}

// Of a layout's extents, one in the middle that decoding uses.
uint32_t corruptible_extent(const Layout& layout) {
  const auto is_used = [&](uint32_t e) { return layout.extents[e].pool != Pool::kWhole; };
  auto extent = static_cast<uint32_t>(layout.extents.size() / 2);
  while (extent > 0 && !is_used(extent)) --extent;
  return extent;
}

// Dense weights in the order of use; experts as earlier runs used them, then layer by layer as memory lasts.
void start_reading(WeightStore& store, const std::vector<Extent>& extents, const std::string& heat_key) {
  std::vector<ExtentId> ring, experts;
  for (uint32_t e = 0; e < extents.size(); ++e) {
    if (extents[e].pool == Pool::kRing) ring.push_back(ExtentId{e});
    if (extents[e].pool == Pool::kExperts) experts.push_back(ExtentId{e});
  }
  store.request(ring, Priority::kCertain);
  std::vector<double> heat(extents.size(), 0.0);
  if (!heat_key.empty())
    if (auto kept = load_heat(heat_key, heat.size())) heat = std::move(*kept);
  store.set_heat(heat);
  std::stable_sort(experts.begin(), experts.end(),
                   [&](ExtentId a, ExtentId b) { return heat[index_of(a)] > heat[index_of(b)]; });
  store.request(experts, Priority::kSpeculative);
}

Result<std::unique_ptr<WeightStore>> open_store(const MappedModel& mapped, const WeightsInMemory& weights,
                                                uint32_t read_bytes, std::unique_ptr<IoQueue> queue,
                                                const LoadProgress& progress, const TestSwitches& test) {
  const LoadRequest& request = mapped.request;
  const double n_used = static_cast<double>(experts_used(request.gguf));
  const unsigned n_threads = request.options.n_threads;
  StoreOptions options{
      .files = request.files(),
      .read_bytes = read_bytes,
      .n_workers = mapped.kernels == Kernels::kRepacked ? repacking_threads(n_threads) : std::max(1u, n_threads / 4),
      .place = place_of(mapped),
      .pool_passes = static_cast<double>(request.gguf.n_expert) / n_used};
  if (test.corrupt_extent) options.corrupt_extent = static_cast<int64_t>(corruptible_extent(weights.layout));
  ASSIGN_OR_RETURN(auto store, WeightStore::open(weights.layout, std::move(queue), std::move(options)));
  if (test.skip_gate) return store;
  start_reading(*store, weights.layout.extents, weights.heat_key);
  // Memory is filled before the first token: what it holds then need not be read in the middle of one.
  while (!store->wait_until_read(std::chrono::milliseconds(50)))
    if (!progress(weights.layout.pinned_bytes + store->stats().resident_bytes))
      return error(Code::kCancelled, "loading was cancelled");
  return store;
}

// The weights' own tensors show memory of ours from here on, so that nobody has to be asked about a node. But for those
// that are used in two ways, of which one knows no other form than the file's: the gate shows them.
void show_for_good(const MappedModel& mapped, const PinnedWeights& pinned, const GraphWalk& walk) {
  for (const WeightUse& use : walk.order.uses()) {
    std::byte* data = pinned.data(use.tensor);
    if (data == nullptr || mapped.forms.has_rows(use.tensor)) continue;
    auto* weight = const_cast<ggml_tensor*>(use.weight);
    weight->data = data;
    if (mapped.forms.is_repacked(use.tensor)) mapped.forms.mark(*weight, use.tensor);
  }
}

}  // namespace

Result<Loaded> load_ours(SeenModel seen, Measured measured, Decision decision, const TestSwitches& test) {
  ASSIGN_OR_RETURN(Fitted fitted, fit(seen, measured, std::move(decision)));
  const MappedModel& mapped = *seen.mapped;
  const LoadRequest& request = mapped.request;
  const bool stays = fitted.decision.mode == Mode::kResident;
  auto weights = std::make_unique<WeightsInMemory>();
  weights->layout = std::move(fitted.layout);
  const Layout& layout = weights->layout;

  // The pool's memory is free for the samples' buffers until the store has it.
  ASSIGN_OR_RETURN(auto queue, open_io_queue(request.options.reader, measured.disk.depth,
                                             threads_of_model(request.options.n_threads)));
  measured.disk.io_queue = queue->name();
  const LoadProgress progress(request.options, layout.pinned_bytes + layout.pool_bytes);
  auto samples =
      fitted.decision.plan && layout.streams() ? load_samples(request, measured, layout.pool_bytes) : std::nullopt;
  ASSIGN_OR_RETURN(weights->pinned,
                   read_pinned(mapped, layout, measured.disk.read_bytes, *queue, stays ? 1 : kSamples, progress, [&] {
                     if (samples) samples->take_sample();
                   }));
  if (samples) measured = with_samples(request, measured, *samples);
  samples.reset();
  if (!stays)
    fitted.decision = with_other_bytes(request, measured, fitted.decision, fitted.context.shape, fitted.other_bytes);
  if (layout.streams()) {
    if (request.options.keep_heat) weights->heat_key = heat_key_of(request.gguf);
    ASSIGN_OR_RETURN(weights->store,
                     open_store(mapped, *weights, measured.disk.read_bytes, std::move(queue), progress, test));
  }
  if (stays) show_for_good(mapped, *weights->pinned, seen.walk);
  if (stays ? any_used_in_two_ways(mapped) : !test.skip_gate)
    fitted.context.gate->open(
        {.layout = &layout, .pinned = weights->pinned.get(), .store = weights->store.get(), .forms = &mapped.forms},
        std::move(seen.walk.order), seen.walk.complete);
  return Loaded{.model = make_engine_model(std::move(seen.mapped), std::move(weights), std::move(measured),
                                           std::move(fitted.decision), fitted.why, fitted.other_bytes),
                .context = std::move(fitted.context),
                .info = std::move(fitted.info)};
}

}  // namespace spillway
