// SPDX-License-Identifier: MIT
#include "cli/model_defaults.h"

#include <algorithm>

#include "model/modelfile.h"
#include "serve/ollama_options.h"

namespace spillway {

std::optional<uint32_t> stored_context(const ModelExtras& extras) {
  const std::optional<int64_t> n_ctx = stored_options(extras.parameters).num_ctx;
  return n_ctx ? std::optional(static_cast<uint32_t>(std::clamp<int64_t>(*n_ctx, 4, 1 << 24))) : std::nullopt;
}

void take_model_defaults(const ModelExtras& extras, const IsGiven& is_given, RunOptions& options) {
  const CallOptions stored = stored_options(extras.parameters);
  SamplingOptions& sampling = options.generation.sampling;
  const auto take = [&](const char* option, const auto& from, auto& to) {
    if (from && !is_given(option)) to = static_cast<std::decay_t<decltype(to)>>(*from);
  };
  const auto within = [](std::optional<int64_t> value, int64_t min, int64_t max) {
    return value ? std::optional(std::clamp(*value, min, max)) : value;
  };
  take("--temp", stored.temperature, sampling.temp);
  take("--top-k", within(stored.top_k, 0, INT32_MAX), sampling.top_k);
  take("--top-p", stored.top_p, sampling.top_p);
  take("--min-p", stored.min_p, sampling.min_p);
  take("--repeat-penalty", stored.repeat_penalty, sampling.repeat_penalty);
  take("--max-tokens", stored.num_predict, options.generation.max_tokens);
  take("--context", stored_context(extras), options.load.n_ctx);
  take("--stop", stored.stop, options.generation.stop);
  if (stored.seed.value_or(-1) >= 0) take("--seed", std::optional(sampler_seed(*stored.seed)), sampling.seed);
  if (stored.typical_p) sampling.typical_p = static_cast<float>(*stored.typical_p);
  if (stored.presence_penalty) sampling.presence_penalty = static_cast<float>(*stored.presence_penalty);
  if (stored.frequency_penalty) sampling.frequency_penalty = static_cast<float>(*stored.frequency_penalty);

  if (options.raw) return;
  if (!is_given("--system")) options.system = extras.system;
  for (const ModelMessage& message : extras.messages)
    options.examples.push_back({.role = message.role, .content = message.content});
  options.chat_template = given_template(extras);
}

}  // namespace spillway
