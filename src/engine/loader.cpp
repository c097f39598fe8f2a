// SPDX-License-Identifier: MIT
// Engine::load: opens the files, decides the mode, lets libllama map them, and puts the weights where they belong.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/notice.h"
#include "engine/auto_plan.h"
#include "engine/compute_probe.h"
#include "engine/device_placement.h"
#include "engine/graph_walk.h"
#include "engine/llama_call.h"
#include "engine/load_budget.h"
#include "engine/load_steps.h"
#include "engine/test_switches.h"
#include "layout/tuning.h"
#include "model/ggml_log.h"
#include "os/machine.h"
#include "os/mapping_capture.h"
#include "os/memory.h"
#include "plan/model_facts.h"
#include "plan/model_need.h"
#include "plan/repacking.h"
#include "store/heat_profile.h"
#include "store/tuning.h"

namespace spillway {
namespace {

using Parts = std::unique_ptr<EngineParts>;

// Memory that grows after loading and is not libllama's: sampling, output rows, stacks, the allocator's slack.
constexpr uint64_t kGrowthBytes = 32 * MiB;
// Two loads measure that much more or less of the process.
constexpr uint64_t kMeasuredDiffersBytes = 4 * MiB;
constexpr uint32_t kUbatchMin = 16;
// Of the files that a process maps, what belongs to the program; more are other models'.
constexpr uint64_t kLibraryBytesMax = 84 * MiB;
// At disk and processor while weights are loaded for good. With what was probed before, an odd number.
constexpr size_t kLooks = 6;

// What was measured of the processor, and with what.
struct Computed {
  ComputeProbe probe;
  MatmulRate rate;
};

// --- libllama ------------------------------------------------------------------------------------------------------

// libllama's parameters. Its own repacking copies the weights into memory that nobody counts.
llama_model_params model_params(EngineParts& parts, DevicePlacement& devices, bool repack) {
  llama_model_params params = llama_model_default_params();
  devices.apply(params);
  params.no_host = true;  // weights on the host stay in the mapping
  params.load_mode = LLAMA_LOAD_MODE_MMAP;
  params.lazy_mode = LLAMA_LAZY_MODE_OFF;
  params.use_extra_bufts = repack;
  params.progress_callback_user_data = &parts.options;
  params.progress_callback = [](float fraction, void* user) {
    const auto& options = *static_cast<const LoadOptions*>(user);
    return !options.progress || options.progress(static_cast<double>(fraction) * 0.05);  // the rest is reading weights
  };
  return params;
}

// What is reserved and not written yet is in no figure of what is resident.
Result<void> load_projector(EngineParts& parts) {
  if (!parts.projector_file) return {};
  const ProcessUsage before = process_usage();
  ASSIGN_OR_RETURN(parts.projector, Projector::load(*parts.projector_file, parts.model.get(), parts.options.n_threads));
  const ProcessUsage after = process_usage();
  const uint64_t resident_bytes = after.rss_anon_bytes - std::min(after.rss_anon_bytes, before.rss_anon_bytes);
  const uint64_t all_bytes =
      std::max(parts.projector_file->need_bytes(),
               after.data_bytes - std::min(after.data_bytes, before.data_bytes) + kImageWorkBytes);
  parts.projector_later_bytes = all_bytes - std::min(all_bytes, resident_bytes);
  return {};
}

Result<void> load_model(EngineParts& parts, bool repack) {
  ASSIGN_OR_RETURN(DevicePlacement devices, DevicePlacement::open(parts.options.devices));
  parts.workers = devices.links();
  GgmlErrorCapture log;
  const auto loaded = call_llama(
      [&] { return llama_model_load_from_file(parts.options.path.c_str(), model_params(parts, devices, repack)); });
  RETURN_IF_ERROR(check_workers(parts));
  if (!loaded) return Failure(loaded.error().with_context(parts.options.path));
  parts.model.reset(*loaded);
  if (parts.model != nullptr) {
    // libllama opened the paths for itself.
    for (const auto& file : parts.files.files) RETURN_IF_ERROR(file->check_in_place());
    ASSIGN_OR_RETURN(parts.adapters, Adapters::load(parts.checked_adapters, parts.model.get()));
    RETURN_IF_ERROR(load_projector(parts));
    return check_workers(parts);
  }
  if (parts.options.progress && !parts.options.progress(0)) return error(Code::kCancelled, "loading was cancelled");
  const std::string& why = log.first_error();
  if (why.find("unknown model architecture") != std::string::npos)
    return error(Code::kUnsupported,
                 fmt::format("{}: architecture '{}' is not known to this libllama ({}); a newer llama.cpp may know it",
                             parts.options.path, parts.files.architecture, llama_version()));
  return error(Code::kUnsupported,
               fmt::format("{}: libllama cannot load it{}{}", parts.options.path, why.empty() ? "" : ": ", why));
}

Result<void> settle_cache_format(EngineParts& parts) {
  const auto takes = check_cache_format(parts.files, parts.options.cache);
  if (takes) return {};
  const Status why = takes.error().with_context(parts.options.path);
  if (!parts.options.cache_is_wish) return Failure(why);
  parts.options.cache = nearest_cache_format(parts.files, parts.options.cache);
  notice(fmt::format("{}; its keys and values are kept as f16", why.message()));
  return {};
}

// Adapters and projectors stay, and are loaded before the weights are laid out.
Result<void> check_room_beside(const EngineParts& parts) {
  const uint64_t bytes = beside_bytes(parts);
  if (bytes == 0) return {};
  if (const auto room = check_memory_left(parts, bytes); !room)
    return error(Code::kOutOfBudget,
                 fmt::format("{}: no room for its {}: {}; raise --ram{}", parts.options.path,
                             parts.projector_file ? "projector" : "adapters", room.error().message(),
                             parts.projector_file ? ", or leave the projector out with --mmproj none" : ""));
  return {};
}

Result<void> look_at_files_beside(EngineParts& parts) {
  ASSIGN_OR_RETURN(parts.checked_adapters, check_adapters(parts.options.adapters, parts.files));
  if (parts.options.projector_path.empty()) return {};
  ASSIGN_OR_RETURN(parts.projector_file, open_projector_file(parts.options.projector_path));
  return {};
}

std::vector<const File*> open_files(const GgufModel& model) {
  std::vector<const File*> files;
  for (const auto& file : model.files) files.push_back(file.get());
  return files;
}

// The used part of each mapping; libllama unmaps what lies before and behind it.
std::vector<AddressRange> used_ranges(const EngineParts& parts, const std::vector<std::byte*>& bases) {
  std::vector<AddressRange> ranges;
  for (uint32_t f = 0; f < bases.size(); ++f) {
    uint64_t begin = UINT64_MAX, end = 0;
    for (const TensorInfo& tensor : parts.files.tensors) {
      if (tensor.file != f || tensor.unused || tensor.range.empty()) continue;
      begin = std::min(begin, tensor.range.offset);
      end = std::max(end, tensor.range.end());
    }
    if (bases[f] == nullptr || begin >= end) continue;  // none of it may be on the host
    begin = round_down(begin, kPageBytes);
    ranges.push_back({bases[f] + begin, round_up(end, kPageBytes) - begin});
  }
  return ranges;
}

// libllama maps the files. Where each is; reading all of it is libllama's business only as `reading` says.
Result<std::vector<std::byte*>> map_model(EngineParts& parts, MappingCapture::Reading reading, bool repack) {
  std::vector<std::byte*> bases;
  {
    const MappingCapture capture(open_files(parts.files), reading);
    RETURN_IF_ERROR(load_model(parts, repack));
    for (size_t i = 0; i < parts.files.files.size(); ++i) bases.push_back(capture.base(i));
  }
  // A file that shrinks while it is computed with then fails the request and not the program.
  parts.bus_guard = std::make_unique<BusGuard>(used_ranges(parts, bases));
  return bases;
}

// Whether ggml can compute with what the file holds, before anything is computed.
Result<void> see_types(EngineParts& parts) {
  if (parts.options.devices.any()) return {};  // what devices compute of the walk cannot be stopped
  const auto seen = walk_graph(parts.model.get(), *parts.weights->index, parts.options.cache, false);
  if (!seen) return Failure(seen.error().with_context(parts.options.path));
  return {};
}

// --- left to libllama, or to the page cache ------------------------------------------------------------------------

Result<Parts> load_plain(Parts parts, Mode mode) {
  const bool repack = mode == Mode::kResident && parts->kernels == Kernels::kRepacked;
  const ProcessUsage own = process_usage();
  const uint64_t own_bytes =
      own.rss_anon_bytes + std::min(own.rss_bytes - std::min(own.rss_bytes, own.rss_anon_bytes), kLibraryBytesMax);
  // Left to the page cache, a model is not read whole at the start: in a small cap that evicts itself.
  ASSIGN_OR_RETURN(
      const auto bases,
      map_model(*parts, mode == Mode::kMmap ? MappingCapture::Reading::kDropped : MappingCapture::Reading::kAsAsked,
                repack));
  parts->weights = std::make_unique<HostWeightsInMemory>();
  parts->weights->index = std::make_unique<WeightIndex>(parts->files, bases);
  RETURN_IF_ERROR(see_types(*parts));
  parts->weights->index =
      std::make_unique<WeightIndex>(parts->files, std::vector<std::byte*>(parts->files.files.size()));
  if (parts->options.observable) parts->gate = std::make_unique<Gate>(parts->files, *parts->weights->index);
  const ProcessUsage before = process_usage();
  RETURN_IF_ERROR(make_context(*parts));
  const ProcessUsage after = process_usage();
  // The repacked copy of the weights is anonymous memory too, and is counted with them; what came with it is the
  // vocabulary, and the adapters.
  const uint64_t own_beside_bytes =
      repack ? own_bytes + static_cast<uint64_t>(parts->files.n_vocab) * kVocabularyBytesPerToken +
                   beside_bytes(*parts) - parts->projector_later_bytes
             : before.rss_anon_bytes;
  parts->memory.other_bytes = own_beside_bytes + after.data_bytes - std::min(after.data_bytes, before.data_bytes) +
                              kGrowthBytes + adapter_growth_bytes(*parts) + parts->projector_later_bytes +
                              parts->options.reserve_bytes;
  RETURN_IF_ERROR(describe(*parts));
  const uint64_t weight_bytes = host_weight_bytes(*parts);
  ASSIGN_OR_RETURN(const ModeChoice choice,
                   mode_for(weight_bytes, mode == Mode::kMmap ? weight_bytes : parts->memory.budget_bytes, mode));
  parts->placement = {.mode = mode, .why = choice.why};
  adopt_prediction(*parts);
  parts->memory.pinned_bytes = mode == Mode::kResident ? weight_bytes : 0;
  if (parts->options.progress) parts->options.progress(1);
  return parts;
}

// --- weights in memory of ours -------------------------------------------------------------------------------------

// What a graph does with the weights, and which nothing uses.
Result<GraphWalk> see_graph(EngineParts& parts) {
  auto seen = walk_graph(parts.model.get(), *parts.weights->index, parts.options.cache, parts.options.devices.any());
  RETURN_IF_ERROR(check_workers(parts));
  if (!seen) return Failure(seen.error().with_context(parts.options.path));
  std::optional<GraphWalk>& walk = *seen;
  if (!walk) return GraphWalk{};
  if (!walk->complete) return *std::move(walk);
  std::vector<bool> used(parts.files.tensors.size());
  for (const WeightUse& use : walk->order.uses()) used[use.tensor] = true;
  // Which of the small ones a graph uses may depend on the length of its context (rope's factors).
  for (size_t t = 0; t < used.size(); ++t)
    parts.files.tensors[t].unused = !used[t] && parts.files.tensors[t].range.bytes >= kExtentBytesMin;
  return *std::move(walk);
}

// Maps the model, and makes ready what tells its weights apart.
Result<GraphWalk> map_for_us(EngineParts& parts) {
  ASSIGN_OR_RETURN(const auto bases, map_model(parts, MappingCapture::Reading::kDropped, false));
  for (size_t i = 0; i < bases.size(); ++i)
    if (bases[i] == nullptr && !parts.options.devices.any())
      return error(Code::kInternal,
                   fmt::format("{}: libllama did not map the file; use --mode mmap", parts.files.files[i]->path()));
  parts.weights = std::make_unique<HostWeightsInMemory>();
  parts.weights->index = std::make_unique<WeightIndex>(parts.files, bases);
  ASSIGN_OR_RETURN(GraphWalk walk, see_graph(parts));
  if (parts.kernels == Kernels::kRepacked) {
    if (!walk.complete && parts.options.kernels == Kernels::kRepacked)
      return error(Code::kUnsupported,
                   fmt::format("{}: libllama does not show how it uses the weights, so they cannot be repacked; leave "
                               "out --kernels",
                               parts.options.path));
    if (walk.complete) parts.weights->forms = RepackedForms::find(parts.files, walk.order);
    if (!walk.complete) parts.kernels = Kernels::kPlain;
  }
  for (const AddressRange& range : used_ranges(parts, bases)) expect_random_access(range.begin, range.bytes);
  return walk;
}

// KV cache and buffers are reserved; what they may grow to is what the budget cannot give to weights.
Result<uint64_t> reserve_context(EngineParts& parts) {
  const ProcessUsage before = process_usage();
  RETURN_IF_ERROR(make_context(parts));
  RETURN_IF_ERROR(describe(parts));
  const ProcessUsage after = process_usage();
  const uint64_t reserved_bytes = after.data_bytes - std::min(after.data_bytes, before.data_bytes);
  parts.memory.other_bytes = std::max(before.rss_bytes + reserved_bytes, after.rss_bytes) + kGrowthBytes +
                             adapter_growth_bytes(parts) + parts.projector_later_bytes + parts.options.reserve_bytes;
  return parts.options.weights_bytes > 0
             ? parts.options.weights_bytes
             : parts.memory.budget_bytes - std::min(parts.memory.budget_bytes, parts.memory.other_bytes);
}

// For someone whose budget was too small by what was measured, though not by the plan.
Status explain_minimum(const EngineParts& parts, uint64_t weights_bytes_min) {
  const LoadOptions& options = parts.options;
  if (options.weights_bytes > 0)
    return weights_too_small(options.weights_bytes, weights_bytes_min).with_context(options.path);
  const uint64_t least_bytes = round_up(weights_bytes_min + parts.memory.other_bytes + kMeasuredDiffersBytes, MiB);
  return budget_too_small({.ram_bytes = parts.memory.budget_bytes,
                           .least_bytes = least_bytes,
                           .weight_bytes = parts.memory.weight_bytes,
                           .n_ctx = options.n_ctx,
                           .n_contexts = options.shared_context ? 1 : options.n_seq_max,
                           .mode = options.mode})
      .with_context(options.path);
}

// Smaller buffers, where what was measured is more than what was planned: a slow pass is better than none. false: they
// are the smallest.
bool shrink_buffers(EngineParts& parts) {
  LoadOptions& options = parts.options;
  const uint32_t n_ubatch = parts.n_ubatch_asked > 0
                                ? options.n_ubatch
                                : std::min(options.n_ubatch, std::max(kUbatchMin, options.n_ubatch / 4));
  const uint32_t n_outputs = std::min(options.n_outputs, options.n_seq_max);
  if (n_ubatch == options.n_ubatch && n_outputs == options.n_outputs && options.reserve_bytes == 0) return false;
  options.n_ubatch = n_ubatch;
  options.n_outputs = n_outputs;
  options.reserve_bytes = parts.memory.reserve_bytes = 0;
  parts.context.reset();
  give_back_freed_memory();
  return true;
}

std::string heat_key(const EngineParts& parts) {
  Fnv1a hash;
  for (const TensorInfo& tensor : parts.files.tensors) {
    hash.add(tensor.name.data(), tensor.name.size());
    hash.add(&tensor.range, sizeof tensor.range);
  }
  for (const auto& file : parts.files.files) {
    const int64_t modified_ns = file->identity().modified_ns;
    hash.add(&modified_ns, sizeof modified_ns);
  }
  return fmt::format("{} {} {:016x}", parts.files.architecture, parts.files.weight_bytes(), hash.value());
}

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
Place place_of(const EngineParts& parts) {
  return [&forms = parts.weights->forms](uint32_t tensor, ByteRange part, const std::byte* from, std::byte* to) {
    forms.place(tensor, part, from, to);
  };
}

// Reads what stays, in `n_parts` parts of about the same length, and calls `between` behind each.
Result<void> load_pinned(EngineParts& parts, ReadRing& ring, size_t n_parts, const LoadProgress& progress,
                         const std::function<void()>& between) {
  HostWeightsInMemory& weights = *parts.weights;
  ASSIGN_OR_RETURN(weights.pinned, PinnedWeights::open(weights.layout, parts.files.tensors,
                                                       {.files = open_files(parts.files),
                                                        .read_bytes = parts.disk.read_bytes,
                                                        .place = place_of(parts)}));
  Workers workers(std::max(1u, parts.options.n_threads));
  const uint64_t part_bytes = weights.layout.pinned_bytes / n_parts + 1;
  uint64_t done_bytes = 0;
  while (!weights.pinned->is_loaded()) {
    uint64_t loaded_bytes = 0;
    RETURN_IF_ERROR(weights.pinned->load(part_bytes, ring, workers, [&](uint64_t bytes) {
      loaded_bytes = bytes;
      return progress(done_bytes + bytes);
    }));
    done_bytes += loaded_bytes;
    between();
  }
  return {};
}

Result<std::unique_ptr<ReadRing>> open_ring(EngineParts& parts) {
  ASSIGN_OR_RETURN(auto ring, open_read_ring(parts.options.reader, parts.disk.depth));
  parts.disk.ring = ring->name();
  return ring;
}

// The weights' own tensors show memory of ours from here on, so that nobody has to be asked about a node. But for those
// that are used in two ways, of which one knows no other form than the file's: the gate shows them.
void show_for_good(EngineParts& parts, const GraphWalk& walk) {
  const RepackedForms& forms = parts.weights->forms;
  for (const WeightUse& use : walk.order.uses()) {
    std::byte* data = parts.weights->pinned->data(use.tensor);
    if (data == nullptr || forms.has_rows(use.tensor)) continue;
    auto* weight = const_cast<ggml_tensor*>(use.weight);
    weight->data = data;
    if (forms.is_repacked(use.tensor)) forms.mark(*weight, use.tensor);
  }
}

bool any_used_in_two_ways(const EngineParts& parts) {
  for (uint32_t t = 0; t < parts.files.tensors.size(); ++t)
    if (parts.weights->forms.has_rows(t)) return true;
  return false;
}

Result<Parts> load_streaming(Parts parts, const Computed& compute, GraphWalk walk);

Result<Parts> load_resident(Parts parts, const Computed& compute, GraphWalk walk) {
  HostWeightsInMemory& weights = *parts->weights;
  const bool shows = any_used_in_two_ways(*parts);
  if (parts->options.observable || shows) parts->gate = std::make_unique<Gate>(parts->files, *weights.index);
  LayoutRequest request;
  do {
    ASSIGN_OR_RETURN(const uint64_t weights_budget_bytes, reserve_context(*parts));
    request = layout_request(*parts, walk, weights_budget_bytes);
    request.pin_all = true;
  } while (resident_bytes(request) > request.weights_budget_bytes && shrink_buffers(*parts));
  const auto choice = mode_for(resident_bytes(request), request.weights_budget_bytes, parts->options.mode);
  if (!choice) return Failure(explain_minimum(*parts, resident_bytes(request)));
  if (choice->mode == Mode::kStream) {  // by a little it does not
    parts->context.reset();
    parts->gate.reset();
    return load_streaming(std::move(parts), compute, std::move(walk));
  }
  ASSIGN_OR_RETURN(weights.layout, lay_out(request));
  parts->placement = placement_of(weights.layout, Mode::kResident, choice->why);
  parts->memory.pinned_bytes = weights.layout.bytes();
  ASSIGN_OR_RETURN(const auto ring, open_ring(*parts));
  RETURN_IF_ERROR(load_pinned(*parts, *ring, 1, LoadProgress(parts->options, weights.layout.pinned_bytes), [] {}));
  show_for_good(*parts, walk);
  if (shows)
    parts->gate->open({.layout = &weights.layout, .pinned = weights.pinned.get(), .forms = &weights.forms},
                      std::move(walk.order), walk.complete);
  adopt_prediction(*parts);
  if (parts->options.progress) parts->options.progress(1);
  return parts;
}

// Dense weights in the order of use; experts as earlier runs used them, then layer by layer as memory lasts.
void start_reading(EngineParts& parts) {
  HostWeightsInMemory& weights = *parts.weights;
  std::vector<ExtentId> ring, experts;
  for (uint32_t e = 0; e < weights.layout.extents.size(); ++e) {
    if (weights.layout.extents[e].pool == Pool::kRing) ring.push_back(ExtentId{e});
    if (weights.layout.extents[e].pool == Pool::kExperts) experts.push_back(ExtentId{e});
  }
  weights.store->request(ring, Priority::kCertain);
  std::vector<double> heat(weights.layout.extents.size(), 0.0);
  if (!weights.heat_key.empty())
    if (auto kept = load_heat(weights.heat_key, heat.size())) heat = std::move(*kept);
  weights.store->set_heat(heat);
  std::stable_sort(experts.begin(), experts.end(),
                   [&](ExtentId a, ExtentId b) { return heat[index_of(a)] > heat[index_of(b)]; });
  weights.store->request(experts, Priority::kSpeculative);
}

Result<void> open_store(EngineParts& parts, std::unique_ptr<ReadRing> ring, const LoadProgress& progress) {
  HostWeightsInMemory& weights = *parts.weights;
  const double n_used = static_cast<double>(experts_used(parts.files));
  StoreOptions options{.files = open_files(parts.files),
                       .read_bytes = parts.disk.read_bytes,
                       .n_workers = parts.kernels == Kernels::kRepacked ? repacking_threads(parts.options.n_threads)
                                                                        : std::max(1u, parts.options.n_threads / 4),
                       .place = place_of(parts),
                       .pool_passes = static_cast<double>(parts.files.n_expert) / n_used};
  if (parts.test.corrupt_extent) options.corrupt_extent = static_cast<int64_t>(corruptible_extent(weights.layout));
  ASSIGN_OR_RETURN(weights.store, WeightStore::open(weights.layout, std::move(ring), std::move(options)));
  if (parts.options.keep_heat) weights.heat_key = heat_key(parts);
  if (parts.test.skip_gate) return {};
  start_reading(parts);
  // Memory is filled before the first token: what it holds then need not be read in the middle of one.
  while (!weights.store->wait_until_read(std::chrono::milliseconds(50)))
    if (!progress(weights.layout.pinned_bytes + weights.store->stats().resident_bytes))
      return error(Code::kCancelled, "loading was cancelled");
  return {};
}

Result<Parts> load_streaming(Parts parts, const Computed& compute, GraphWalk walk) {
  HostWeightsInMemory& weights = *parts->weights;
  // 1. What is left for the weights beside everything else, and 2. where with it each tensor lives.
  parts->gate = std::make_unique<Gate>(parts->files, *weights.index);
  parts->gate->set_abort_flag(parts->abort.get());
  LayoutRequest request;
  Result<Layout> layout = error(Code::kInternal, "");
  std::string why;
  do {
    ASSIGN_OR_RETURN(const uint64_t weights_budget_bytes, reserve_context(*parts));
    request = layout_request(*parts, walk, weights_budget_bytes);
    ASSIGN_OR_RETURN(const ModeChoice choice,
                     mode_for(resident_bytes(request), weights_budget_bytes, parts->options.mode));
    if (choice.mode != Mode::kStream) {  // it fits after all
      parts->context.reset();
      parts->gate.reset();
      plan_resident_instead(*parts);
      return load_resident(std::move(parts), compute, std::move(walk));
    }
    why = choice.why;
    layout = lay_out(request);
  } while (!layout && layout.error().code() == Code::kOutOfBudget && shrink_buffers(*parts));
  if (!layout && layout.error().code() == Code::kOutOfBudget)
    return Failure(explain_minimum(*parts, least_bytes(request)));
  if (!layout) return Failure(layout.error());
  weights.layout = std::move(*layout);
  parts->placement = placement_of(weights.layout, Mode::kStream, why);
  parts->memory.pinned_bytes = weights.layout.pinned_bytes + weights.layout.buffer_bytes;
  parts->memory.pool_bytes = weights.layout.pool_bytes;
  parts->memory.ring_pool_bytes = weights.layout.ring_pool_bytes;
  parts->memory.rows_bytes = weights.layout.rows_bytes;

  // 3. What stays is read, what streams starts to. The pool's memory is free for the looks' buffers until then.
  ASSIGN_OR_RETURN(auto ring, open_ring(*parts));
  const LoadProgress progress(parts->options, weights.layout.pinned_bytes + weights.layout.pool_bytes);
  auto looks = weights.layout.streams() ? load_looks(*parts, compute.probe, compute.rate, weights.layout.pool_bytes)
                                        : std::nullopt;
  RETURN_IF_ERROR(load_pinned(*parts, *ring, kLooks, progress, [&] {
    if (looks) looks->look();
  }));
  if (looks) adopt_looks(*parts, *looks);
  looks.reset();
  predict_again(*parts);
  if (weights.layout.streams()) RETURN_IF_ERROR(open_store(*parts, std::move(ring), progress));
  if (!parts->test.skip_gate)
    parts->gate->open({.layout = &weights.layout,
                       .pinned = weights.pinned.get(),
                       .store = weights.store.get(),
                       .forms = &weights.forms},
                      std::move(walk.order), walk.complete);
  if (parts->options.progress) parts->options.progress(1);
  return parts;
}

}  // namespace

Result<void> check_workers(const EngineParts& parts) {
  for (const auto& worker : parts.workers) RETURN_IF_ERROR(worker->check());
  return {};
}

Result<void> Engine::check_room(const LoadOptions& options, uint64_t held_bytes) {
  RETURN_IF_ERROR(start_llama());
  EngineParts parts;
  parts.options = options;
  parts.n_ubatch_asked = options.n_ubatch;
  if (parts.options.n_threads == 0) parts.options.n_threads = usable_cpus();
  ASSIGN_OR_RETURN(parts.files, open_gguf_model(options.path, OpenOptions{.direct = options.direct_io}));
  if (options.cache_is_wish) parts.options.cache = nearest_cache_format(parts.files, options.cache);
  if (auto beside = look_at_files_beside(parts); !beside) {
    if (!options.projector_is_wish || options.projector_path.empty()) return beside;
    parts.options.projector_path.clear();  // as a load does
    RETURN_IF_ERROR(look_at_files_beside(parts));
  }
  parts.memory.budget_bytes = budget_bytes_for(options.ram_bytes);
  parts.held_bytes = held_bytes;
  return check_plan(parts);
}

namespace {

Result<std::unique_ptr<Engine>> load_engine(const LoadOptions& options, const TestSwitches& test) {
  RETURN_IF_ERROR(start_llama());
  auto parts = std::make_unique<EngineParts>();
  parts->test = test;
  parts->options = options;
  parts->n_ubatch_asked = options.n_ubatch;
  parts->abort = std::make_unique<std::atomic<bool>>(false);
  if (parts->options.n_threads == 0) parts->options.n_threads = usable_cpus();
  ASSIGN_OR_RETURN(parts->files, open_gguf_model(options.path, OpenOptions{.direct = options.direct_io}));
  RETURN_IF_ERROR(settle_cache_format(*parts));
  RETURN_IF_ERROR(look_at_files_beside(*parts));
  parts->memory.budget_bytes = budget_bytes_for(options.ram_bytes);
  RETURN_IF_ERROR(check_room_beside(*parts));
  parts->memory.weight_bytes = parts->files.weight_bytes();
  parts->disk.read_bytes = kReadBytesDefault;
  parts->disk.depth = kReadDepthDefault;
  Computed compute{compute_probe_of(parts->files, parts->options.n_threads, parts->memory.budget_bytes),
                   MatmulRate{.type = dominant_type(parts->files)}};
  ASSIGN_OR_RETURN(parts->kernels, kernels_for(parts->files, options));
  compute.probe.repacked = parts->kernels == Kernels::kRepacked;
  if (options.measure_compute) compute.rate = measure_compute(compute.probe);
  ASSIGN_OR_RETURN(const Mode mode, choose_mode(*parts, compute.rate));
  if (parts->options.devices.any()) parts->kernels = Kernels::kPlain;  // as planned
  const auto load = [&]() -> Result<Parts> {
    if (mode == Mode::kMmap || options.by_libllama) return load_plain(std::move(parts), mode);
    ASSIGN_OR_RETURN(GraphWalk walk, map_for_us(*parts));
    return mode == Mode::kStream ? load_streaming(std::move(parts), compute, std::move(walk))
                                 : load_resident(std::move(parts), compute, std::move(walk));
  };
  auto loaded = load();
  if (!loaded) return Failure(loaded.error());
  (*loaded)->placement.kernels = (*loaded)->kernels;
  return std::make_unique<LlamaEngine>(std::move(*loaded));
}

}  // namespace

Result<std::unique_ptr<Engine>> Engine::load(const LoadOptions& options) {
  auto engine = load_engine(options, {});
  const bool had_projector = options.projector_is_wish && !options.projector_path.empty();
  if (engine || !had_projector || engine.error().code() == Code::kCancelled) return engine;
  LoadOptions blind = options;
  blind.projector_path.clear();
  auto without = load_engine(blind, {});
  if (!without) return without;
  notice(fmt::format("the model is loaded without its projector and sees no images: {}", engine.error().message()));
  return without;
}

Result<std::unique_ptr<Engine>> load_for_test(const LoadOptions& options, const TestSwitches& test) {
  return load_engine(options, test);
}

}  // namespace spillway
