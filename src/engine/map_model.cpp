// SPDX-License-Identifier: MIT
// libllama maps the files of a model.
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "backend/llama_call.h"
#include "base/bytes.h"
#include "base/saturating_sub.h"
#include "engine/device_placement.h"
#include "engine/experts_of_tokens.h"
#include "engine/load_steps.h"
#include "layout/tuning.h"
#include "model/ggml_log.h"
#include "os/machine.h"
#include "os/mapping_capture.h"
#include "os/memory.h"

namespace spillway {
namespace {

// libllama's parameters. Its own repacking copies the weights into memory that nobody counts.
llama_model_params model_params(const LoadOptions& options, DevicePlacement& devices, bool repack) {
  llama_model_params params = llama_model_default_params();
  devices.apply(params);
  params.no_host = true;  // weights on the host stay in the mapping
  params.load_mode = LLAMA_LOAD_MODE_MMAP;
  params.lazy_mode = LLAMA_LAZY_MODE_OFF;
  params.use_extra_bufts = repack;
  params.progress_callback_user_data = const_cast<LoadOptions*>(&options);
  params.progress_callback = [](float fraction, void* user) {
    const auto& asked = *static_cast<const LoadOptions*>(user);
    return !asked.progress || asked.progress(static_cast<double>(fraction) * 0.05);  // the rest is reading weights
  };
  return params;
}

// What is reserved and not written yet is in no figure of what is resident.
Result<void> load_projector(MappedModel& mapped) {
  const std::optional<ProjectorFile>& file = mapped.request.projector;
  if (!file) return {};
  const ProcessUsage before = process_usage();
  ASSIGN_OR_RETURN(mapped.projector, Projector::load(*file, mapped.llama.get(), mapped.request.options.n_threads));
  const ProcessUsage after = process_usage();
  const uint64_t resident_bytes = saturating_sub(after.rss_anon_bytes, before.rss_anon_bytes);
  const uint64_t all_bytes =
      std::max(file->need_bytes(), saturating_sub(after.data_bytes, before.data_bytes) + kImageWorkBytes);
  mapped.projector_later_bytes = saturating_sub(all_bytes, resident_bytes);
  return {};
}

Failure why_not_loaded(const MappedModel& mapped, const std::string& why) {
  const LoadRequest& request = mapped.request;
  const LoadOptions& options = request.options;
  if (options.progress && !options.progress(0)) return error(Code::kCancelled, "loading was cancelled");
  if (why.find("unknown model architecture") != std::string::npos)
    return error(Code::kUnsupported,
                 fmt::format("{}: architecture '{}' is not known to this libllama ({}); a newer llama.cpp may know it",
                             options.path, request.gguf.architecture, llama_version()));
  return mapped.blame(
      {Code::kUnsupported, fmt::format("{}: libllama cannot load it{}{}", options.path, why.empty() ? "" : ": ", why)});
}

// Parts are named one by one: libllama by itself finds those alone whose names are in small letters.
llama_model* load_files(const LoadRequest& request, const llama_model_params& params) {
  const std::vector<std::string> files = request.gguf.paths();
  if (files.size() <= 1) return llama_model_load_from_file(request.options.path.c_str(), params);
  std::vector<const char*> paths;
  paths.reserve(files.size());
  for (const std::string& file : files) paths.push_back(file.c_str());
  return llama_model_load_from_splits(paths.data(), paths.size(), params);
}

Result<void> load_llama(MappedModel& mapped, const DeviceOptions& devices, bool repack) {
  const LoadRequest& request = mapped.request;
  const std::string& path = request.options.path;
  ASSIGN_OR_RETURN(DevicePlacement placement, DevicePlacement::open(devices));
  mapped.workers = placement.links();
  mapped.layer_share = placement.layer_share();
  GgmlErrorCapture log;
  const auto loaded = call_llama([&] { return load_files(request, model_params(request.options, placement, repack)); });
  RETURN_IF_ERROR(mapped.check_workers());
  if (!loaded) return mapped.blame_file(loaded.error().with_context(path));
  if (*loaded == nullptr) return why_not_loaded(mapped, log.first_error());
  mapped.llama.reset(*loaded);
  // libllama opened the paths for itself.
  for (const auto& file : request.gguf.files) RETURN_IF_ERROR(file->check_in_place());
  auto adapters = Adapters::load(request.adapters, mapped.llama.get());
  RETURN_IF_ERROR(mapped.check_workers());
  if (!adapters) return mapped.blame(adapters.error());
  mapped.adapters = *std::move(adapters);
  RETURN_IF_ERROR(load_projector(mapped));
  return mapped.check_workers();
}

// The used part of each mapping; libllama unmaps what lies before and behind it.
std::vector<AddressRange> used_ranges(const GgufModel& gguf, const std::vector<std::byte*>& bases) {
  std::vector<AddressRange> ranges;
  for (uint32_t f = 0; f < bases.size(); ++f) {
    uint64_t begin = UINT64_MAX, end = 0;
    for (const TensorInfo& tensor : gguf.tensors) {
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

// And where each file is. Reading all of it is libllama's business only as `reading` says.
struct Mapping {
  std::unique_ptr<MappedModel> mapped;
  std::vector<std::byte*> bases;
};
Result<Mapping> map_files(LoadRequest request, const DeviceOptions& devices, MappingCapture::Reading reading,
                          bool repack) {
  Mapping result{.mapped = std::make_unique<MappedModel>(), .bases = {}};
  MappedModel& mapped = *result.mapped;
  mapped.request = std::move(request);
  const GgufModel& gguf = mapped.request.gguf;
  RETURN_IF_ERROR(check_experts_of_tokens(gguf));
  {
    const MappingCapture capture(mapped.request.files(), reading);
    RETURN_IF_ERROR(load_llama(mapped, devices, repack));
    for (size_t i = 0; i < gguf.files.size(); ++i) result.bases.push_back(capture.base(i));
  }
  // A file that shrinks while it is computed with then fails the request and not the program.
  ASSIGN_OR_RETURN(mapped.bus_guard, BusGuard::over(used_ranges(gguf, result.bases)));
  mapped.index = std::make_unique<WeightIndex>(gguf, result.bases);
  return result;
}

// What a graph does with the weights; whether ggml can compute with what the file holds, before anything is computed.
Result<std::optional<GraphWalk>> see_graph(const MappedModel& mapped, bool any_on_devices) {
  const LoadOptions& options = mapped.request.options;
  auto walk = walk_graph(mapped.llama.get(), *mapped.index, options.cache, any_on_devices);
  RETURN_IF_ERROR(mapped.check_workers());
  if (!walk) return Failure(walk.error().with_context(options.path));
  return walk;
}

void mark_unused(const GraphWalk& walk, std::vector<TensorInfo>& tensors) {
  std::vector<bool> used(tensors.size());
  for (const WeightUse& use : walk.order.uses()) used[use.tensor] = true;
  // Which of the small ones a graph uses may depend on the length of its context (rope's factors).
  for (size_t t = 0; t < used.size(); ++t) tensors[t].unused = !used[t] && tensors[t].range.bytes >= kExtentBytesMin;
}

}  // namespace

Result<SeenModel> map_for_us(LoadRequest request, const Decision& decision) {
  // 1. The files.
  const bool any_on_devices = decision.devices.any();
  ASSIGN_OR_RETURN(Mapping mapping,
                   map_files(std::move(request), decision.devices, MappingCapture::Reading::kDropped, false));
  MappedModel& mapped = *mapping.mapped;
  GgufModel& gguf = mapped.request.gguf;
  for (size_t i = 0; i < mapping.bases.size(); ++i)
    if (mapping.bases[i] == nullptr && !any_on_devices)
      return error(Code::kInternal,
                   fmt::format("{}: libllama did not map the file; use --mode mmap", gguf.files[i]->path()));
  // 2. Its graph, and which weights nothing uses.
  ASSIGN_OR_RETURN(std::optional<GraphWalk> seen, see_graph(mapped, any_on_devices));
  GraphWalk walk = seen ? *std::move(seen) : GraphWalk{};
  if (walk.complete) mark_unused(walk, gguf.tensors);
  // 3. The forms of weights, which the graph decides.
  if (decision.kernels == Kernels::kRepacked) {
    const LoadOptions& options = mapped.request.options;
    if (!walk.complete && options.kernels == Kernels::kRepacked)
      return error(Code::kUnsupported,
                   fmt::format("{}: libllama does not show how it uses the weights, so they cannot be repacked; leave "
                               "out --kernels",
                               options.path));
    if (walk.complete) {
      mapped.kernels = Kernels::kRepacked;
      mapped.forms = RepackedForms::find(gguf, walk.order);
    }
  }
  for (const AddressRange& range : used_ranges(gguf, mapping.bases)) expect_random_access(range.begin, range.bytes);
  return SeenModel{.mapped = std::move(mapping.mapped), .walk = std::move(walk)};
}

Result<std::unique_ptr<const MappedModel>> map_for_libllama(LoadRequest request, const Decision& decision,
                                                            bool repack) {
  // Left to the page cache, a model is not read whole at the start: in a small cap that evicts itself.
  const auto reading =
      decision.mode == Mode::kMmap ? MappingCapture::Reading::kDropped : MappingCapture::Reading::kAsAsked;
  ASSIGN_OR_RETURN(Mapping mapping, map_files(std::move(request), decision.devices, reading, repack));
  MappedModel& mapped = *mapping.mapped;
  mapped.kernels = decision.kernels;
  RETURN_IF_ERROR(see_graph(mapped, decision.devices.any()));
  const std::vector<std::byte*> nowhere(mapping.bases.size());
  mapped.index = std::make_unique<WeightIndex>(mapped.request.gguf, nowhere);
  return std::move(mapping.mapped);
}

}  // namespace spillway
