// SPDX-License-Identifier: MIT
#include "engine/load_request.h"

#include <fmt/format.h>

#include "engine/load_budget.h"
#include "os/machine.h"
#include "os/thread_limit.h"

namespace spillway {
namespace {

Result<void> settle_cache_format(LoadRequest& request) {
  LoadOptions& options = request.options;
  const auto takes = check_cache_format(request.gguf, options.cache);
  if (takes) return {};
  const Status why = takes.error().with_context(options.path);
  if (!options.cache_is_optional) return Failure(why);
  options.cache = nearest_cache_format(request.gguf, options.cache);
  request.notice = fmt::format("{}; its keys and values are kept as f16", why.message());
  return {};
}

}  // namespace

std::vector<const File*> LoadRequest::files() const {
  std::vector<const File*> files;
  for (const auto& file : gguf.files) files.push_back(file.get());
  return files;
}

Result<LoadRequest> open_request(const LoadOptions& options) {
  LoadRequest request;
  request.options = options;
  if (options.n_threads > kThreadsMax)
    return error(Code::kInvalidArgument,
                 fmt::format("{} threads are not possible; give 1 to {}", options.n_threads, kThreadsMax));
  if (options.n_threads == 0) request.options.n_threads = usable_cpus();
  if (!options.choose_devices) request.options.gpu_memory_bytes = 0;
  ASSIGN_OR_RETURN(request.gguf, open_gguf_model(options.path, OpenOptions{.direct = options.direct_io}));
  RETURN_IF_ERROR(settle_cache_format(request));
  ASSIGN_OR_RETURN(request.adapters, check_adapters(options.adapters, request.gguf));
  if (!options.projector_path.empty()) {
    ASSIGN_OR_RETURN(request.projector, open_projector_file(options.projector_path));
  }
  request.weight_bytes = request.gguf.weight_bytes();
  request.budget_bytes = budget_bytes_for(options.ram_bytes);
  return request;
}

}  // namespace spillway
