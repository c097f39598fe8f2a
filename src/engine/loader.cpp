// SPDX-License-Identifier: MIT
// Engine::load: opens the files, decides the mode, lets libllama load, and for streaming puts the store under it.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "base/clock.h"
#include "base/hash.h"
#include "base/notice.h"
#include "engine/auto_plan.h"
#include "engine/compute_probe.h"
#include "engine/device_placement.h"
#include "engine/llama_engine.h"
#include "hw/disk_probe.h"
#include "model/ggml_log.h"
#include "os/machine.h"
#include "os/mapping_capture.h"
#include "plan/model_facts.h"
#include "plan/tuning.h"
#include "store/heat_profile.h"
#include "store/tuning.h"

namespace spillway {
namespace {

using Parts = std::unique_ptr<EngineParts>;

// Memory that grows after loading and is not libllama's: sampling, output rows, stacks, the allocator's slack.
constexpr uint64_t kGrowthBytes = 32 * MiB;
// A resident model's buffers, when only a guess decides whether it is worth trying.
constexpr uint64_t kBuffersGuessBytes = 512 * MiB;
// Files smaller than this tell nothing about the disk.
constexpr uint64_t kProbeFileBytesMin = 512 * MiB;
constexpr uint32_t kContextDefault = 4096;
constexpr uint32_t kUbatchDefault = 512;
// Mappings left for everybody else in the process.
constexpr uint64_t kMappingsSpare = 2048;

uint64_t free_ram_bytes() {
  const MemoryState memory = memory_state();
  const auto share = static_cast<uint64_t>(kHeadroomShare * static_cast<double>(memory.total_bytes));
  const uint64_t headroom = std::min(std::max(kHeadroomBytesMin, share), memory.available_bytes / 4);
  return memory.available_bytes - headroom + process_usage().rss_bytes;
}

// Of a memory cgroup's limit, kept for what is charged to it and is no page of ours: page tables (2 MiB per GiB in 4
// KiB pages), the kernel's own.
constexpr double kCgroupShare = 0.97;

// What was asked for, or what is free; inside a memory cgroup never up to its very limit.
uint64_t budget_bytes(uint64_t asked_bytes) {
  const uint64_t bytes = asked_bytes > 0 ? asked_bytes : free_ram_bytes();
  const MemoryState memory = memory_state();
  if (!memory.limited_by_cgroup) return bytes;
  return std::min(bytes, static_cast<uint64_t>(kCgroupShare * static_cast<double>(memory.limit_bytes)));
}

std::string dominant_type(const GgufModel& files) {
  std::map<std::string, uint64_t> bytes;
  for (const TensorInfo& tensor : files.tensors) bytes[tensor.type] += tensor.range.bytes;
  return std::max_element(bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; })
      ->first;
}

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
  if (parts.model != nullptr) return {};
  if (parts.options.progress && !parts.options.progress(0)) return error(Code::kCancelled, "loading was cancelled");
  const std::string& why = log.first_error();
  if (why.find("unknown model architecture") != std::string::npos)
    return error(Code::kUnsupported,
                 fmt::format("{}: architecture '{}' is not known to this libllama ({}); a newer llama.cpp may know it",
                             parts.options.path, parts.files.architecture, llama_version()));
  return error(Code::kUnsupported,
               fmt::format("{}: libllama cannot load it{}{}", parts.options.path, why.empty() ? "" : ": ", why));
}

// Of all sequences together.
uint32_t context_tokens(const EngineParts& parts) {
  const uint64_t n_ctx_own = parts.files.n_ctx_train > 0 ? parts.files.n_ctx_train : kContextDefault;
  const uint64_t n_ctx = parts.options.n_ctx > 0 ? parts.options.n_ctx : std::min<uint64_t>(n_ctx_own, kContextDefault);
  return static_cast<uint32_t>(parts.options.shared_context ? n_ctx : n_ctx * parts.options.n_seq_max);
}

}  // namespace

Result<void> check_workers(const EngineParts& parts) {
  for (const auto& worker : parts.workers) RETURN_IF_ERROR(worker->check());
  return {};
}

Result<void> make_context(EngineParts& parts) {
  const LoadOptions& options = parts.options;
  Gate* gate = parts.streaming != nullptr ? parts.streaming->gate.get() : nullptr;
  llama_context_params params = llama_context_default_params();
  params.n_ctx = context_tokens(parts);
  params.n_batch = std::min(options.n_batch, std::max(params.n_ctx, 32u));
  params.n_ubatch = std::min(options.n_ubatch > 0 ? options.n_ubatch : kUbatchDefault, params.n_batch);
  params.n_seq_max = options.n_seq_max;
  params.kv_unified = options.shared_context && options.n_seq_max > 1;
  params.n_threads = params.n_threads_batch = static_cast<int32_t>(options.n_threads);
  params.embeddings = options.embeddings;
  params.op_offload = options.devices.any() && options.devices.op_offload;
  params.moe_cache_size = options.devices.any() ? options.devices.expert_cache_bytes : 0;
  params.no_perf = true;
  if (!options.all_logits && !options.embeddings) params.n_outputs_max = std::max(options.n_seq_max, 1u);
  params.abort_callback = [](void* flag) { return static_cast<const std::atomic<bool>*>(flag)->load(); };
  params.abort_callback_data = parts.abort.get();
  if (gate != nullptr) {
    params.cb_eval = Gate::on_node;
    params.cb_eval_user_data = gate;
  }
  GgmlErrorCapture log;
  parts.context.reset(llama_init_from_model(parts.model.get(), params));
  RETURN_IF_ERROR(check_workers(parts));
  if (parts.context == nullptr)
    return error(Code::kOutOfBudget,
                 fmt::format("no context of {} tokens could be made{}{}; lower --context", params.n_ctx,
                             log.first_error().empty() ? "" : ": ", log.first_error()));
  parts.options.n_batch = llama_n_batch(parts.context.get());
  parts.options.n_ubatch = llama_n_ubatch(parts.context.get());
  return {};
}

namespace {

void describe_chat(EngineParts& parts) {
  if (!parts.info.has_tokenizer) return;
  const llama_vocab* vocab = llama_model_get_vocab(parts.model.get());
  const auto text = [&](llama_token id) -> std::string {
    const char* piece = id >= 0 ? llama_vocab_get_text(vocab, id) : nullptr;
    return piece != nullptr ? piece : "";
  };
  const char* own = llama_model_chat_template(parts.model.get(), nullptr);
  parts.info.chat_template = own != nullptr ? own : "";
  parts.info.bos_token = text(llama_vocab_bos(vocab));
  parts.info.eos_token = text(llama_vocab_eos(vocab));
  parts.info.adds_bos = llama_vocab_get_add_bos(vocab);
}

void describe(EngineParts& parts) {
  const GgufModel& files = parts.files;
  const llama_vocab* vocab = llama_model_get_vocab(parts.model.get());
  const llama_memory_t memory = llama_get_memory(parts.context.get());
  char description[256] = "";
  llama_model_desc(parts.model.get(), description, sizeof description);
  parts.info = {
      .path = parts.options.path,
      .name = files.name,
      .architecture = files.architecture,
      .description = description,
      .n_params = files.n_params,
      .weight_bytes = files.weight_bytes(),
      .n_layer = files.n_layer,
      .n_expert = files.n_expert,
      .n_expert_used = files.n_expert_used,
      .n_ctx_train = files.n_ctx_train,
      .n_ctx = parts.options.shared_context ? llama_n_ctx(parts.context.get()) : llama_n_ctx_seq(parts.context.get()),
      .n_ubatch = llama_n_ubatch(parts.context.get()),
      .n_vocab = llama_vocab_n_tokens(vocab),
      .n_embd = static_cast<uint64_t>(llama_model_n_embd_out(parts.model.get())),
      .library = fmt::format("libllama {}", llama_version()),
      .has_tokenizer = files.has_tokenizer,
      .has_encoder = llama_model_has_encoder(parts.model.get()),
      .has_decoder = llama_model_has_decoder(parts.model.get()) && memory != nullptr,
      .can_trim = !llama_model_is_recurrent(parts.model.get()) && !llama_model_is_hybrid(parts.model.get()),
      .can_shift = memory != nullptr && llama_memory_can_shift(memory)};
  describe_chat(parts);
}

uint64_t host_weight_bytes(const EngineParts& parts) {
  uint64_t bytes = parts.files.weight_bytes();
  for (size_t t = 0; t < parts.on_device.size(); ++t)
    if (parts.on_device[t]) bytes -= parts.files.tensors[t].range.bytes;
  return bytes;
}

PlanInput plan_input(const EngineParts& parts, uint64_t weights_budget_bytes, double compute_bytes_per_s) {
  return {.tensors = &parts.files.tensors,
          .on_device = parts.on_device,
          // A device that computes the output has a copy of the embedding; of the host's only rows are read.
          .tied_embedding = !parts.files.has_output && !parts.options.devices.any(),
          .n_expert_used = parts.files.n_expert_used,
          .weights_budget_bytes = weights_budget_bytes,
          .resident_bytes = host_weight_bytes(parts),
          .mode = parts.options.mode,
          .extent_bytes_min = parts.options.extent_bytes_min > 0 ? parts.options.extent_bytes_min : kExtentBytesMin,
          .disk_bytes_per_s = parts.disk.disk_bytes_per_s,
          .compute_bytes_per_s = compute_bytes_per_s};
}

// Before anything is loaded: what is sure to fit is loaded plainly, what may not goes the careful way.
Mode first_guess(const EngineParts& parts) {
  if (parts.options.mode) return *parts.options.mode;
  if (parts.options.weights_bytes > 0) return Mode::kStream;
  const GgufModel& files = parts.files;
  const uint64_t n_ctx = parts.options.n_ctx > 0 ? parts.options.n_ctx : kContextDefault;
  const uint64_t kv_bytes_max =
      files.n_layer * n_ctx * files.n_embd * 2 * 2;  // as if every head kept its own K and V in f16
  const uint64_t n_contexts = parts.options.shared_context ? 1 : parts.options.n_seq_max;
  // Of the process, other models included: what is resident of it counts.
  const uint64_t needed_bytes = host_weight_bytes(parts) + n_contexts * kv_bytes_max + kBuffersGuessBytes +
                                parts.options.reserve_bytes + process_usage().rss_bytes;
  return needed_bytes <= parts.memory.budget_bytes ? Mode::kResident : Mode::kStream;
}

void probe_disk_of(EngineParts& parts) {
  const File* largest = parts.files.files.front().get();
  for (const auto& file : parts.files.files)
    if (file->size_bytes() > largest->size_bytes()) largest = file.get();
  parts.disk.direct = largest->is_direct();
  if (largest->size_bytes() < kProbeFileBytesMin) return;
  const auto seed = static_cast<uint64_t>(monotonic_s() * 1e6);
  DiskProbeOptions options;
  options.seed = seed;
  options.ring = parts.options.reader;
  const auto probe = probe_disk(*largest, options);
  if (!probe) return notice(fmt::format("the disk could not be measured: {}", probe.error().message()));
  parts.disk.disk_bytes_per_s = probe->disk_bytes_per_s;
  parts.disk.read_bytes = probe->read_bytes;
  parts.disk.depth = probe->depth;
  parts.disk.ring = probe->ring;
}

void adopt_prediction(EngineParts& parts) {
  if (parts.options.devices.any() && !parts.plan)
    parts.placement.predicted_tok_per_s = 0;  // the CPU's rate says nothing
  if (!parts.plan) return;
  parts.placement.predicted_tok_per_s = parts.plan->prediction.decode_tok_per_s;
  parts.placement.bytes_read_per_token = parts.plan->prediction.bytes_read_per_token;
  if (!parts.options.mode) parts.placement.why = parts.plan->why;
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
  // While libllama repacks, the mapping and the copy are in memory together.
  const bool repack =
      mode == Mode::kResident && parts->options.allow_repack &&
      2 * weight_bytes + kBuffersGuessBytes + parts->options.reserve_bytes <= parts->memory.budget_bytes;
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

// What the plan foretold, with what the rest of the process really takes.
void predict_again(EngineParts& parts) {
  if (!parts.plan) return adopt_prediction(parts);
  auto plan = plan_load(parts.files, parts.options, parts.machine, parts.memory.budget_bytes,
                        llama_n_ctx(parts.context.get()), parts.memory.other_bytes, parts.placement.mode);
  if (plan && plan->n_gpu_layers == parts.plan->n_gpu_layers) parts.plan->prediction = plan->prediction;
  adopt_prediction(parts);
}

Result<Parts> load_streaming(Parts parts, double compute_bytes_per_s) {
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
    return load_plain(std::move(parts), placement->mode, compute_bytes_per_s);
  }
  parts->placement = std::move(*placement);
  predict_again(*parts);
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
  RETURN_IF_ERROR(s.space->load_for_good(s.layout.pinned, *ring, parts->disk.read_bytes, progress));
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

// Which mode to load in, and with it what goes to devices and how many tokens share a reading. Decided by the planner;
// where it finds nothing possible, loading goes the careful way and says what is missing. Budgets for weights alone and
// devices that were named are for the caller to know: nothing is planned then.
Mode choose_mode(EngineParts& parts, double compute_bytes_per_s) {
  LoadOptions& options = parts.options;
  const auto settle_devices = [&parts] {
    parts.on_device = tensors_on_devices(parts.files, parts.options.devices);
    parts.memory.device_bytes = parts.files.weight_bytes() - host_weight_bytes(parts);
  };
  settle_devices();
  const Mode guess = first_guess(parts);
  if (guess == Mode::kStream && (options.measure_compute || options.weights_bytes == 0)) probe_disk_of(parts);
  if (options.weights_bytes > 0 || options.devices.any()) return guess;
  if (!options.choose_devices) options.gpu_memory_bytes = 0;
  const QuickFigures figures{.type = dominant_type(parts.files),
                             .compute_bytes_per_s = compute_bytes_per_s,
                             .disk_bytes_per_s = parts.disk.disk_bytes_per_s,
                             .read_bytes = parts.disk.read_bytes,
                             .depth = parts.disk.depth};
  parts.machine = machine_of(options, figures, parts.files);
  const uint64_t budget_bytes = parts.memory.budget_bytes - std::min(parts.memory.budget_bytes, options.reserve_bytes);
  auto plan = plan_load(parts.files, options, parts.machine, budget_bytes, context_tokens(parts), 0, options.mode);
  if (!plan) return guess;
  parts.memory.other_bytes_planned = plan->host.kv_bytes + plan->host.compute_bytes + plan->host.program_bytes;
  const double worker_answer_s = options.devices.worker_answer_s;
  options.devices = devices_of(*plan, parts.files);
  options.devices.worker_answer_s = worker_answer_s;
  settle_devices();
  if (options.n_ubatch == 0 && plan->mode == Mode::kStream) options.n_ubatch = plan->n_ubatch;
  parts.plan = std::move(*plan);
  return parts.plan->mode;
}

}  // namespace

Result<std::unique_ptr<Engine>> Engine::load(const LoadOptions& options) {
  RETURN_IF_ERROR(start_llama());
  auto parts = std::make_unique<EngineParts>();
  parts->options = options;
  parts->abort = std::make_unique<std::atomic<bool>>(false);
  if (parts->options.n_threads == 0) parts->options.n_threads = usable_cpus();
  ASSIGN_OR_RETURN(parts->files, open_gguf_model(options.path, {.direct = options.direct_io}));
  parts->memory.budget_bytes = budget_bytes(options.ram_bytes);
  parts->memory.weight_bytes = parts->files.weight_bytes();
  parts->disk.read_bytes = kReadBytesDefault;
  parts->disk.depth = kReadDepthDefault;
  const double compute_bytes_per_s =
      options.measure_compute ? measure_compute_bytes_per_s(dominant_type(parts->files), parts->options.n_threads,
                                                            typical_matrix_bytes(parts->files))
                              : 0;
  const Mode mode = choose_mode(*parts, compute_bytes_per_s);
  auto loaded = mode == Mode::kStream ? load_streaming(std::move(parts), compute_bytes_per_s)
                                      : load_plain(std::move(parts), mode, compute_bytes_per_s);
  if (!loaded) return tl::unexpected<Status>(loaded.error());
  return std::make_unique<LlamaEngine>(std::move(*loaded));
}

}  // namespace spillway
