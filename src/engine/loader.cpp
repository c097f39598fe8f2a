// SPDX-License-Identifier: MIT
// Engine::load: values handed on, from what was asked for to an engine that computes.
#include <fmt/format.h>

#include <utility>

#include "base/notice.h"
#include "engine/auto_plan.h"
#include "engine/llama_engine.h"
#include "engine/load_context.h"
#include "engine/load_steps.h"
#include "engine/test_switches.h"
#include "os/task_limit.h"

namespace spillway {
namespace {

bool may_go_without_projector(const LoadOptions& options) {
  return options.projector_is_optional && !options.projector_path.empty();
}

LoadOptions without_projector(LoadOptions options) {
  options.projector_path.clear();
  return options;
}

// Adapters and projectors stay, and are loaded before the weights are laid out.
Result<void> check_room_beside(const LoadRequest& request) {
  const uint64_t bytes = request.beside_bytes();
  if (bytes == 0) return {};
  if (const auto room = check_memory_left(request.budget_bytes, bytes); !room)
    return error(Code::kOutOfBudget,
                 fmt::format("{}: no room for its {}: {}; raise --ram{}", request.options.path,
                             request.projector ? "projector" : "adapters", room.error().message(),
                             request.projector ? ", or leave the projector out with --mmproj none" : ""));
  return {};
}

Result<Loaded> load_with(const LoadOptions& options, const TestSwitches& test) {
  RETURN_IF_ERROR(start_llama());
  ASSIGN_OR_RETURN(LoadRequest request, open_request(options));
  RETURN_IF_ERROR(try_threads(threads_of_model(request.options.n_threads)));
  if (!request.notice.empty()) notice(request.notice);
  RETURN_IF_ERROR(check_room_beside(request));
  ASSIGN_OR_RETURN(const Kernels kernels, kernels_for(request.gguf, request.options));
  ASSIGN_OR_RETURN(Measured measured, measure(request, kernels));
  ASSIGN_OR_RETURN(Decision decision, decide(request, measured, kernels));
  if (decision.mode == Mode::kMmap || options.by_libllama)
    return load_by_libllama(std::move(request), std::move(measured), std::move(decision));
  ASSIGN_OR_RETURN(SeenModel seen, map_for_us(std::move(request), decision));
  return load_ours(std::move(seen), std::move(measured), std::move(decision), test);
}

Result<std::unique_ptr<Engine>> load_engine(const LoadOptions& options, const TestSwitches& test,
                                            const std::string& blind_why = {}) {
  ASSIGN_OR_RETURN(Loaded loaded, load_with(options, test));
  loaded.info.blind_why = blind_why;
  if (options.progress) options.progress(1);
  return std::make_unique<LlamaEngine>(std::move(loaded));
}

}  // namespace

Result<void> Engine::check_room(const LoadOptions& options, uint64_t held_bytes) {
  RETURN_IF_ERROR(start_llama());
  auto request = open_request(options);
  if (!request && may_go_without_projector(options)) request = open_request(without_projector(options));
  if (!request) return Failure(request.error());
  return check_plan(*request, held_bytes);
}

Result<std::unique_ptr<Engine>> Engine::load(const LoadOptions& options) {
  auto engine = load_engine(options, {});
  if (engine || !may_go_without_projector(options) || engine.error().code() == Code::kCancelled) return engine;
  auto without = load_engine(without_projector(options), {}, engine.error().message());
  if (!without) return without;
  notice(fmt::format("the model is loaded without its projector and sees no images: {}", engine.error().message()));
  return without;
}

Result<std::unique_ptr<Engine>> load_for_test(const LoadOptions& options, const TestSwitches& test) {
  return load_engine(options, test);
}

}  // namespace spillway
