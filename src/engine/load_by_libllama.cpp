// SPDX-License-Identifier: MIT
// Weights that libllama has as it does without us, or that are left to the page cache.
#include <algorithm>
#include <utility>

#include "base/bytes.h"
#include "base/saturating_sub.h"
#include "engine/load_context.h"
#include "engine/load_steps.h"
#include "os/machine.h"
#include "plan/model_need.h"

namespace spillway {
namespace {

// Of the files that a process maps, what belongs to the program; more are other models'.
constexpr uint64_t kLibraryBytesMax = 84 * MiB;

}  // namespace

Result<Loaded> load_by_libllama(LoadRequest asked, Measured measured, Decision decision) {
  const bool repack = decision.mode == Mode::kResident && decision.kernels == Kernels::kRepacked;
  const ProcessUsage own = process_usage();
  const uint64_t own_bytes =
      own.rss_anon_bytes + std::min(saturating_sub(own.rss_bytes, own.rss_anon_bytes), kLibraryBytesMax);
  ASSIGN_OR_RETURN(std::unique_ptr<const MappedModel> mapped, map_for_libllama(std::move(asked), decision, repack));
  const LoadRequest& request = mapped->request;
  const ProcessUsage before = process_usage();
  ASSIGN_OR_RETURN(EngineContext context, make_context(*mapped, decision, request.options.observable));
  const ProcessUsage after = process_usage();
  // The repacked copy of the weights is anonymous memory too, and is counted with them; what came with it is the
  // vocabulary, and the adapters, whose part of the graph came with the context.
  const uint64_t beside_bytes = repack ? own_bytes + request.gguf.n_vocab * kVocabularyBytesPerToken +
                                             request.beside_bytes() - request.adapters.graph_bytes() -
                                             mapped->projector_later_bytes
                                       : before.rss_anon_bytes;
  const uint64_t other_bytes = beside_bytes + saturating_sub(after.data_bytes, before.data_bytes) + kGrowthBytes +
                               adapter_growth_bytes(request, context.llama.get()) + mapped->projector_later_bytes +
                               decision.reserve_bytes;
  ASSIGN_OR_RETURN(ModelInfo info, describe(*mapped, decision, context));

  const uint64_t weight_bytes = host_weight_bytes(request.gguf, decision.on_device);
  ASSIGN_OR_RETURN(
      const ModeChoice choice,
      mode_for(weight_bytes, decision.mode == Mode::kMmap ? weight_bytes : request.budget_bytes, decision.mode));
  return Loaded{.model = make_engine_model(std::move(mapped), nullptr, std::move(measured), std::move(decision),
                                           choice.why, other_bytes),
                .context = std::move(context),
                .info = std::move(info)};
}

}  // namespace spillway
