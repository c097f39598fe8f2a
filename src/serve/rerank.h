// SPDX-License-Identifier: MIT
// /v1/rerank and /rerank: how well texts answer a query, by a model with a ranking head. Requests as Jina, Cohere and
// llama-server take them ("documents"), or as text-embeddings-inference does ("texts").
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/catalog.h"
#include "serve/model_manager.h"

namespace spillway {

struct RerankCall {
  std::string model;  // empty: the caller knows which one is meant
  std::string query;
  std::vector<std::string> texts;
  std::optional<size_t> n_best;  // else all
  bool with_texts = false;       // in the reply
  bool is_plain_list = false;    // the reply of text-embeddings-inference
  std::optional<double> keep_alive_s;
};

// What the texts take, with what there is of each while it is ranked and written.
uint64_t bytes_of(const RerankCall& call);

struct RankedText {
  size_t index = 0;
  float score = 0;  // as the model computes it: what is larger fits better
};

struct RerankResult {
  std::vector<RankedText> ranked;  // the best first, equals in their order; at most n_best
  size_t prompt_tokens = 0;
};

// Pure.
//   InvalidArgument
Result<RerankCall> parse_rerank(std::string_view body);
std::string rerank_reply(const RerankCall& call, const RerankResult& result);

// One text after the other, so that others are served in between; `asker` is asked before each.
//   Unsupported       the model does not rank; one that is only known to make text is not loaded
//   ContextOverflow   a query and its text are longer than the model reads        Cancelled, and errors of loading
Result<RerankResult> rerank(const Catalog& catalog, ModelManager& manager, const RerankCall& call, const Asker& asker);

}  // namespace spillway
