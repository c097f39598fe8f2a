// SPDX-License-Identifier: MIT
// Engine::load: opens the files, decides the mode, lets libllama load, and for streaming puts the store under it.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "base/bytes.h"
#include "base/hash.h"
#include "engine/compute_probe.h"
#include "engine/device_placement.h"
#include "engine/load_budget.h"
#include "engine/load_steps.h"
#include "model/ggml_log.h"
#include "os/machine.h"
#include "os/mapping_capture.h"
#include "plan/model_facts.h"
#include "store/heat_profile.h"
#include "store/tuning.h"

namespace spillway {
namespace {

using Parts = std::unique_ptr<EngineParts>;

// Memory that grows after loading and is not libllama's: sampling, output rows, stacks, the allocator's slack.
constexpr uint64_t kGrowthBytes = 32 * MiB;
// At disk and processor while weights are loaded for good. With what was probed before, an odd number.
constexpr size_t kLooks = 6;
// Mappings left for everybody else in the process.
constexpr uint64_t kMappingsSpare = 2048;

// libllama's parameters. Exactness needs the same kernels in every mode, so repacked weights only where nothing
// streams.
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

Result<void> load_model(EngineParts& parts, bool repack) {
  ASSIGN_OR_RETURN(DevicePlacement devices, DevicePlacement::open(parts.options.devices));
  parts.workers = devices.links();
  GgmlErrorCapture log;
  parts.model.reset(llama_model_load_from_file(parts.options.path.c_str(), model_params(parts, devices, repack)));
  RETURN_IF_ERROR(check_workers(parts));
  if (parts.model != nullptr) {
    // libllama opened the paths for itself.
    for (const auto& file : parts.files.files) RETURN_IF_ERROR(file->check_in_place());
    return {};
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

std::vector<const File*> open_files(const GgufModel& model) {
  std::vector<const File*> files;
  for (const auto& file : model.files) files.push_back(file.get());
  return files;
}

// A file that shrinks while it is computed with then fails the request and not the program.
void guard_mappings(EngineParts& parts, const MappingCapture& capture) {
  std::vector<AddressRange> mapped;
  for (size_t i = 0; i < parts.files.files.size(); ++i)
    if (capture.base(i) != nullptr)  // none of it may be on the host
      mapped.push_back({capture.base(i), round_up(parts.files.files[i]->size_bytes(), kPageBytes)});
  parts.bus_guard = std::make_unique<BusGuard>(std::move(mapped));
}

Result<Parts> load_plain(Parts parts, Mode mode, double compute_bytes_per_s) {
  const uint64_t weight_bytes = host_weight_bytes(*parts);
  const bool repack = mode == Mode::kResident && parts->options.allow_repack &&
                      has_room_to_repack(weight_bytes, plan_budget_bytes(*parts));
  if (parts->options.observable) {
    parts->streaming = std::make_unique<Streaming>();
    Streaming& s = *parts->streaming;
    s.index = std::make_unique<WeightIndex>(parts->files, std::vector<MappedFile>(parts->files.files.size()));
    s.gate = std::make_unique<Gate>(parts->files, parts->placement, s.layout, *s.index, parts->options.test);
  }
  {
    // Left to the page cache, a model is not read whole at the start: in a small cap that evicts itself.
    const MappingCapture capture(open_files(parts->files), mode == Mode::kMmap ? MappingCapture::Reading::kDropped
                                                                               : MappingCapture::Reading::kAsAsked);
    RETURN_IF_ERROR(load_model(*parts, repack));
    guard_mappings(*parts, capture);
  }
  const ProcessUsage before = process_usage();
  RETURN_IF_ERROR(make_context(*parts));
  const ProcessUsage after = process_usage();
  if (!repack)  // the copy of the weights is anonymous memory too
    parts->memory.other_bytes = before.rss_anon_bytes + after.data_bytes -
                                std::min(after.data_bytes, before.data_bytes) + kGrowthBytes +
                                parts->options.reserve_bytes;
  describe(*parts);
  const uint64_t budget_bytes = mode == Mode::kMmap ? weight_bytes : parts->memory.budget_bytes;
  PlanInput input = plan_input(*parts, budget_bytes, compute_bytes_per_s);
  if (parts->plan && !input.mode) input.mode = mode;
  ASSIGN_OR_RETURN(parts->placement, place(input));
  if (!parts->plan || parts->plan->mode == mode) adopt_prediction(*parts);
  parts->memory.pinned_bytes = mode == Mode::kResident ? weight_bytes : 0;
  if (parts->options.progress) parts->options.progress(1);
  return parts;
}

uint64_t bytes_of(const std::vector<WeightSpace::PinRange>& ranges) {
  return std::accumulate(ranges.begin(), ranges.end(), uint64_t{0},
                         [](uint64_t sum, const WeightSpace::PinRange& range) { return sum + range.pages.bytes; });
}

// In order, in `n` groups of about the same length; the last ones may be empty.
std::vector<std::vector<WeightSpace::PinRange>> in_groups(const std::vector<WeightSpace::PinRange>& ranges, size_t n) {
  std::vector<std::vector<WeightSpace::PinRange>> groups(n);
  const uint64_t group_bytes = bytes_of(ranges) / n + 1;
  uint64_t before_bytes = 0;
  for (const WeightSpace::PinRange& range : ranges) {
    groups[before_bytes / group_bytes].push_back(range);
    before_bytes += range.pages.bytes;
  }
  return groups;
}

// The least and the comfortable budget, for someone whose budget was too small.
Status explain_minimum(const EngineParts& parts, const Status& status, uint64_t other_bytes) {
  if (status.code() != Code::kOutOfBudget) return status;
  PlanInput input = plan_input(parts, UINT64_MAX / 2, 0);
  input.mode = Mode::kStream;
  const auto ideal = place(input);
  if (!ideal) return status;
  return {Code::kOutOfBudget,
          fmt::format(
              "{}: the budget of {} is too small: at least {} is needed to stream this model, and with {} all of it "
              "would fit; raise --ram or lower --context",
              parts.options.path, format_bytes(parts.memory.budget_bytes),
              format_bytes(round_up(ideal->weights_bytes_min + other_bytes, MiB)),
              format_bytes(host_weight_bytes(parts) + other_bytes))};
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

// Dense weights in file order, which is layer order; experts as earlier runs used them, then layer by layer as memory
// lasts.
void start_reading(EngineParts& parts) {
  Streaming& s = *parts.streaming;
  std::vector<ExtentId> ring, experts;
  for (uint32_t e = 0; e < s.layout.extents.size(); ++e)
    (s.layout.extents[e].pool == Pool::kRing ? ring : experts).push_back(ExtentId{e});
  s.cache->request(ring, Priority::kCertain);
  std::vector<double> heat(s.layout.extents.size(), 0.0);
  if (!s.heat_key.empty())
    if (auto kept = load_heat(s.heat_key, heat.size())) heat = std::move(*kept);
  s.cache->set_heat(heat);
  std::stable_sort(experts.begin(), experts.end(),
                   [&](ExtentId a, ExtentId b) { return heat[index_of(a)] > heat[index_of(b)]; });
  s.cache->request(experts, Priority::kSpeculative);
}

Result<void> check_mappings(const Layout& layout) {
  const uint64_t n_slots = std::accumulate(layout.n_slots.begin(), layout.n_slots.end(), uint64_t{0});
  const uint64_t needed = 2 * layout.pinned.size() + 3 * n_slots + kMappingsSpare;
  const uint64_t left = mappings_left();
  if (needed <= left) return {};
  return error(Code::kUnsupported, fmt::format("this model needs {} memory mappings and the kernel allows {} more: run "
                                               "'sysctl vm.max_map_count={}' as root, or use --mode mmap",
                                               needed, left, round_up(needed + 65536, 65536)));
}

// What was measured of the processor, and with what.
struct Computed {
  ComputeProbe probe;
  MatmulRate rate;
};

Result<Parts> load_streaming(Parts parts, const Computed& compute) {
  const double compute_bytes_per_s = compute.rate.decode_bytes_per_s;
  parts->streaming = std::make_unique<Streaming>();
  Streaming& s = *parts->streaming;
  // 1. libllama maps the files; nothing of them is read.
  const std::vector<const File*> files = open_files(parts->files);
  {
    const MappingCapture capture(files);
    RETURN_IF_ERROR(load_model(*parts, false));
    guard_mappings(*parts, capture);
    for (size_t i = 0; i < files.size(); ++i) {
      s.mapped.push_back({files[i], capture.base(i)});
      if (s.mapped[i].base == nullptr)
        return error(Code::kInternal,
                     fmt::format("{}: libllama did not map the file; use --mode mmap", files[i]->path()));
    }
  }
  s.index = std::make_unique<WeightIndex>(parts->files, s.mapped);
  s.gate = std::make_unique<Gate>(parts->files, parts->placement, s.layout, *s.index, parts->options.test);
  s.gate->set_abort_flag(parts->abort.get());

  // 2. KV cache and buffers are reserved; what they may grow to is what the budget cannot give to weights.
  const ProcessUsage before = process_usage();
  RETURN_IF_ERROR(make_context(*parts));
  describe(*parts);
  const ProcessUsage after = process_usage();
  const uint64_t reserved_bytes = after.data_bytes - std::min(after.data_bytes, before.data_bytes);
  parts->memory.other_bytes =
      std::max(before.rss_bytes + reserved_bytes, after.rss_bytes) + kGrowthBytes + parts->options.reserve_bytes;
  const uint64_t weights_budget_bytes =
      parts->options.weights_bytes > 0
          ? parts->options.weights_bytes
          : parts->memory.budget_bytes - std::min(parts->memory.budget_bytes, parts->memory.other_bytes);

  // 3. Where each tensor lives.
  PlanInput input = plan_input(*parts, weights_budget_bytes, compute_bytes_per_s);
  auto placement = place(input);
  if (!placement) return tl::unexpected<Status>(explain_minimum(*parts, placement.error(), parts->memory.other_bytes));
  if (placement->mode != Mode::kStream) {  // it fits after all: plainly, then
    parts->context.reset();
    parts->streaming.reset();
    parts->model.reset();
    parts->bus_guard.reset();
    plan_resident_instead(*parts);
    return load_plain(std::move(parts), placement->mode, compute_bytes_per_s);
  }
  parts->placement = std::move(*placement);
  auto layout = lay_out(parts->files, parts->placement, weights_budget_bytes);
  if (!layout) return tl::unexpected<Status>(explain_minimum(*parts, layout.error(), parts->memory.other_bytes));
  s.layout = std::move(*layout);
  RETURN_IF_ERROR(check_mappings(s.layout));
  parts->memory.pinned_bytes = s.layout.pinned_bytes;
  parts->memory.pool_bytes = s.layout.pool_bytes;
  parts->memory.ring_pool_bytes = s.layout.ring_pool_bytes;
  parts->memory.rows_bytes = parts->placement.rows_bytes;

  // 4. What stays is read, what streams starts to.
  ASSIGN_OR_RETURN(WeightSpace space, WeightSpace::open(s.mapped));
  s.space = std::make_unique<WeightSpace>(std::move(space));
  ASSIGN_OR_RETURN(auto ring, open_read_ring(parts->options.reader, parts->disk.depth));
  parts->disk.ring = ring->name();
  const auto progress = [&](uint64_t bytes) {
    const uint64_t bytes_all = std::max<uint64_t>(s.layout.pinned_bytes + s.layout.pool_bytes, 1);
    const double fraction = static_cast<double>(bytes) / static_cast<double>(bytes_all);
    return !parts->options.progress || parts->options.progress(0.05 + 0.95 * std::min(fraction, 1.0));
  };
  // The pool's memory is free for the looks' buffers until then.
  auto looks =
      s.layout.extents.empty() ? std::nullopt : load_looks(*parts, compute.probe, compute.rate, s.layout.pool_bytes);
  uint64_t done_bytes = 0;
  for (const auto& group : in_groups(s.layout.pinned, kLooks)) {
    RETURN_IF_ERROR(s.space->load_for_good(group, *ring, parts->disk.read_bytes,
                                           [&](uint64_t bytes) { return progress(done_bytes + bytes); }));
    done_bytes += bytes_of(group);
    if (looks) looks->look();
  }
  if (looks) adopt_looks(*parts, *looks);
  looks.reset();
  predict_again(*parts);
  if (s.layout.extents.empty()) return parts;
  CacheOptions cache_options{.read_bytes = parts->disk.read_bytes, .n_slots = s.layout.n_slots};
  if (parts->options.test.corrupt_extent)
    cache_options.corrupt_extent = static_cast<int64_t>(s.layout.extents.size() / 2);
  ASSIGN_OR_RETURN(s.cache, ResidencyCache::open(*s.space, s.layout.extents, std::move(ring), cache_options));
  if (parts->options.keep_heat) s.heat_key = heat_key(*parts);
  s.gate->open_gate(s.cache.get());
  if (!parts->options.test.skip_gate) {
    start_reading(*parts);
    // Memory is filled before the first token: what it holds then need not be read in the middle of one.
    while (!s.cache->wait_until_read(std::chrono::milliseconds(50)))
      if (!progress(s.layout.pinned_bytes + s.cache->stats().resident_bytes))
        return error(Code::kCancelled, "loading was cancelled");
  }
  if (parts->options.progress) parts->options.progress(1);
  return parts;
}

}  // namespace

Result<void> check_workers(const EngineParts& parts) {
  for (const auto& worker : parts.workers) RETURN_IF_ERROR(worker->check());
  return {};
}

Result<std::unique_ptr<Engine>> Engine::load(const LoadOptions& options) {
  RETURN_IF_ERROR(start_llama());
  auto parts = std::make_unique<EngineParts>();
  parts->options = options;
  parts->n_ubatch_asked = options.n_ubatch;
  parts->abort = std::make_unique<std::atomic<bool>>(false);
  if (parts->options.n_threads == 0) parts->options.n_threads = usable_cpus();
  ASSIGN_OR_RETURN(parts->files, open_gguf_model(options.path, {.direct = options.direct_io}));
  parts->memory.budget_bytes = budget_bytes_for(options.ram_bytes);
  parts->memory.weight_bytes = parts->files.weight_bytes();
  parts->disk.read_bytes = kReadBytesDefault;
  parts->disk.depth = kReadDepthDefault;
  Computed compute{compute_probe_of(parts->files, parts->options.n_threads, parts->memory.budget_bytes),
                   MatmulRate{.type = dominant_type(parts->files)}};
  // Where there is room for that, all plans are for a resident model.
  compute.probe.repacked = options.allow_repack && options.mode.value_or(Mode::kResident) == Mode::kResident &&
                           has_room_to_repack(parts->memory.weight_bytes, plan_budget_bytes(*parts));
  if (options.measure_compute) compute.rate = measure_compute(compute.probe);
  ASSIGN_OR_RETURN(const Mode mode, choose_mode(*parts, compute.rate));
  auto loaded = mode == Mode::kStream ? load_streaming(std::move(parts), compute)
                                      : load_plain(std::move(parts), mode, compute.rate.decode_bytes_per_s);
  if (!loaded) return tl::unexpected<Status>(loaded.error());
  return std::make_unique<LlamaEngine>(std::move(*loaded));
}

}  // namespace spillway
