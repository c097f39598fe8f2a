// SPDX-License-Identifier: MIT
#include "serve/loaded_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "model/modelfile.h"

namespace spillway {
namespace {

Result<ChatForm> form_of(const ModelExtras& extras, const ModelInfo& info, const Engine& engine) {
  const auto has_token = [&](std::string_view text) {
    if (!info.has_tokenizer) return false;
    const auto tokens = engine.tokenize(std::string(text), false, true);
    return tokens && tokens->size() == 1;
  };
  return choose_chat_form({.given = given_template(extras),
                           .own = info.chat_template,
                           .has_token = has_token,
                           .bos_token = info.bos_token,
                           .eos_token = info.eos_token});
}

}  // namespace

LoadedWeights::~LoadedWeights() {
  try {
    if (scheduler != nullptr) scheduler->save_sequences();
  } catch (const std::exception&) {
    // What they held is computed once more.
  }
  scheduler.reset();
}

LoadedModel::LoadedModel(ModelEntry entry_of_it, ModelExtras extras_of_it, std::shared_ptr<LoadedWeights> of_weights,
                         uint32_t n_ctx_of_it)
    : entry(std::move(entry_of_it)),
      extras(std::move(extras_of_it)),
      weights(std::move(of_weights)),
      info(weights->info),
      engine(weights->engine.get()),
      scheduler(weights->scheduler.get()),
      form(form_of(extras, info, *engine)),
      n_ctx_default(n_ctx_of_it) {}

uint32_t LoadedModel::context_for(std::optional<int64_t> num_ctx) const {
  const int64_t wanted = num_ctx && *num_ctx > 0 ? std::max<int64_t>(*num_ctx, kContextMin) : n_ctx_default;
  return static_cast<uint32_t>(std::min<int64_t>(wanted, scheduler == nullptr ? info.n_ctx : scheduler->n_ctx()));
}

bool LoadedModel::can(const std::string& capability) const {
  return std::find(entry.capabilities.begin(), entry.capabilities.end(), capability) != entry.capabilities.end();
}

const TemplateTraits& LoadedModel::traits() const {
  static const TemplateTraits kNone;
  return form ? form->chat_template->traits() : kNone;
}

std::unique_ptr<LoadedModel> own_model(std::unique_ptr<Engine> engine, ModelExtras extras, bool scheduled) {
  auto weights = std::make_shared<LoadedWeights>();
  weights->engine = std::move(engine);
  weights->info = weights->engine->model();
  if (scheduled) {
    weights->prompt_cache = PromptCache::open({.model_key = weights->info.state_key,
                                               .context_key = weights->info.context_key,
                                               .memory_bytes_max = weights->engine->memory().reserve_bytes,
                                               .folder = {}});
    weights->scheduler =
        Scheduler::start(*weights->engine, {.n_sequences = 1, .prompt_cache = weights->prompt_cache.get()});
  }
  ModelEntry entry;
  entry.name = name_for_path(weights->info.path);
  if (weights->info.has_decoder) entry.capabilities = {"completion"};
  const uint32_t n_ctx = weights->info.n_ctx;
  return std::make_unique<LoadedModel>(std::move(entry), std::move(extras), std::move(weights), n_ctx);
}

Result<FairPlaces::Place> place_to_prepare(const LoadedModel& model, size_t text_bytes, const Asker& asker) {
  return model.weights->preparing.take(asker, text_bytes > kShortTextBytesMax);
}

std::unique_ptr<FairPlaces::Turn> turn_to_prepare(const LoadedModel& model, size_t text_bytes,
                                                  const std::string& client) {
  return std::make_unique<FairPlaces::Turn>(model.weights->preparing, client, text_bytes > kShortTextBytesMax);
}

std::unique_ptr<FairPlaces::Turn> turn_to_look(const LoadedModel& model, const std::string& client) {
  return std::make_unique<FairPlaces::Turn>(model.weights->looking, client, true);
}

Status in_words_of_clients(const Status& status, const ModelEntry& entry) {
  std::string message = status.message();
  if (entry.path.empty()) return status;
  const std::string name = fmt::format("model '{}'", entry.name.shown());
  for (size_t at = message.find(entry.path); at != std::string::npos; at = message.find(entry.path, at + name.size()))
    message.replace(at, entry.path.size(), name);
  return status.with_message(std::move(message));
}

}  // namespace spillway
