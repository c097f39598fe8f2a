// SPDX-License-Identifier: MIT
// A model that answers: its weights, what computes with them, and what comes with it besides.
//
// Threads: constant; any. What the scheduler guards is its own.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/status.h"
#include "chat/chat_form.h"
#include "engine/engine.h"
#include "model/catalog.h"
#include "serving/asker.h"
#include "serving/fair_places.h"
#include "serving/prompt_cache.h"
#include "serving/scheduler.h"

namespace spillway {

// Tokens of context: no prompt makes sense in fewer.
inline constexpr int64_t kContextMin = 4;

// Weights that are loaded, and what computes with them. Immutable but for what the scheduler guards and the
// places; the size of the context, too, the scheduler knows.
struct LoadedWeights {
  std::string key;  // ModelEntry::weights
  std::unique_ptr<Engine> engine;
  ModelInfo info;  // as of the load
  std::unique_ptr<PromptCache> prompt_cache;
  // Rendering, splitting into tokens and reading grammars take a processor from whoever computes: so many at once.
  FairPlaces preparing{4};
  // One image at a time is decoded. All count as long ones, of which there is one at a time.
  FairPlaces looking{2};
  std::unique_ptr<Scheduler> scheduler;  // last: it uses the others

  ~LoadedWeights();
};

// A model that is served: weights, and what comes with them. Immutable.
struct LoadedModel {
  // `n_ctx_default`: tokens of context for a request that asks for none.
  LoadedModel(ModelEntry entry, ModelExtras extras, std::shared_ptr<LoadedWeights> weights, uint32_t n_ctx_default);

  const ModelEntry entry;
  const ModelExtras extras;
  const std::shared_ptr<LoadedWeights> weights;  // shared by the models that consist of the same
  const ModelInfo& info;                         // these three are of the weights
  Engine* const engine;
  Scheduler* const scheduler;   // null in one of own_model() alone
  const Result<ChatForm> form;  // an error: none can be opened now
  const uint32_t n_ctx_default;

  // Tokens of context for a request that asks for `num_ctx`, of those there are now.
  uint32_t context_for(std::optional<int64_t> num_ctx) const;
  bool can(const std::string& capability) const;
  const TemplateTraits& traits() const;
};

// A model of one program, which nobody else asks for: `engine`, by the name of its file. With `scheduled` a scheduler
// computes, for one request at a time and with what the engine reserved for its prompt cache. Without, the engine is
// the caller's to compute with, and there is no scheduler.
std::unique_ptr<LoadedModel> own_model(std::unique_ptr<Engine> engine, ModelExtras extras, bool scheduled);

// For as long as a request of that much text is made ready. Long ones, beyond 64 KiB, take half of the places.
//   Cancelled   nobody waits for it any more
Result<FairPlaces::Place> place_to_prepare(const LoadedModel& model, size_t text_bytes, const Asker& asker);
// The same, and to look at one image, for who waits for other things, too. They go before the model does.
std::unique_ptr<FairPlaces::Turn> turn_to_prepare(const LoadedModel& model, size_t text_bytes,
                                                  const std::string& client);
std::unique_ptr<FairPlaces::Turn> turn_to_look(const LoadedModel& model, const std::string& client);

// The same failure with the model's name where its file stood: a client knows no paths of the server's.
Status in_words_of_clients(const Status& status, const ModelEntry& entry);

}  // namespace spillway
