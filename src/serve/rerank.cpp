// SPDX-License-Identifier: MIT
#include "serve/rerank.h"

#include <fmt/format.h>

#include <algorithm>

#include "serve/answer.h"
#include "serve/call_json.h"

namespace spillway {
namespace {

constexpr size_t kTextsMax = 100000;

// A string, or {"text": ...} as Jina and Cohere take it.
Result<std::string> text_of(const Json& item, size_t index) {
  if (item.is_string()) return item.get<std::string>();
  const Json* text = item.is_object() ? find_field(item, "text") : nullptr;
  if (text == nullptr || !text->is_string())
    return invalid(fmt::format("'documents[{}]' must be a string or an object with a 'text'", index));
  return text->get<std::string>();
}

Failure does_not_rank(const std::string& model) {
  return error(Code::kUnsupported,
               fmt::format("\"{}\" does not rank: that takes a model with a ranking head, such as bge-reranker; any "
                           "model's vectors can be compared by /v1/embeddings",
                           model));
}

Result<size_t> room_for_pair(const LoadedModel& model, const RerankCall& call, size_t index) {
  const ModelInfo& info = model.info;
  size_t room = model.context_for(std::nullopt);
  if (info.n_ctx_train > 0) room = std::min<size_t>(room, info.n_ctx_train);
  // Before what is far too long is cut into tokens.
  const size_t bytes = call.query.size() + call.texts[index].size();
  if (info.token_bytes_max > 0 && bytes / info.token_bytes_max > room)
    return error(
        Code::kContextOverflow,
        fmt::format("'documents[{}]' and the query exceed the context length: room for {} tokens", index, room));
  return room;
}

Result<std::vector<TokenId>> tokens_of_pair(const LoadedModel& model, const RerankCall& call, size_t index,
                                            const Asker& asker) {
  const std::string& text = call.texts[index];
  ASSIGN_OR_RETURN(const auto place, place_to_prepare(model, call.query.size() + text.size(), asker));
  return model.engine->pair_tokens(call.query, text);
}

}  // namespace

uint64_t bytes_of(const RerankCall& call) {
  uint64_t bytes = call.query.size();
  for (const std::string& text : call.texts) bytes += sizeof(std::string) + (call.with_texts ? 2 : 1) * text.size();
  return bytes;
}

Result<RerankCall> parse_rerank(std::string_view body) {
  ASSIGN_OR_RETURN(const Json json, parse_json_object(body));
  RerankCall call;
  ASSIGN_OR_RETURN(const auto model, string_field(json, "model"));
  call.model = model.value_or("");
  ASSIGN_OR_RETURN(const auto query, string_field(json, "query"));
  if (!query) return invalid("'query' must be given: a string");
  call.query = *query;
  const Json* documents = find_field(json, "documents");
  const Json* texts = find_field(json, "texts");
  call.is_plain_list = documents == nullptr && texts != nullptr;
  const Json* list = call.is_plain_list ? texts : documents;
  if (list == nullptr || !list->is_array() || list->empty())
    return invalid("'documents' must be a list of strings, and not empty");
  if (list->size() > kTextsMax) return invalid(fmt::format("'documents' has more than {} texts", kTextsMax));
  for (const Json& item : *list) {
    ASSIGN_OR_RETURN(std::string text, text_of(item, call.texts.size()));
    call.texts.push_back(std::move(text));
  }
  ASSIGN_OR_RETURN(const auto n_best, integer_field(json, "top_n"));
  if (n_best && *n_best < 1) return invalid("'top_n' must be at least 1");
  if (n_best) call.n_best = static_cast<size_t>(*n_best);
  ASSIGN_OR_RETURN(const auto with_texts, bool_field(json, call.is_plain_list ? "return_text" : "return_documents"));
  call.with_texts = with_texts.value_or(false);
  ASSIGN_OR_RETURN(call.keep_alive_s, keep_alive_field(json));
  return call;
}

std::string rerank_reply(const RerankCall& call, const RerankResult& result) {
  Json list = Json::array();
  for (const RankedText& one : result.ranked) {
    Json item = {{"index", one.index}, {call.is_plain_list ? "score" : "relevance_score", one.score}};
    if (call.with_texts && call.is_plain_list) item["text"] = call.texts[one.index];
    if (call.with_texts && !call.is_plain_list) item["document"] = {{"text", call.texts[one.index]}};
    list.push_back(std::move(item));
  }
  if (call.is_plain_list) return to_text(list);
  return to_text({{"model", call.model},
                  {"object", "list"},
                  {"usage", {{"prompt_tokens", result.prompt_tokens}, {"total_tokens", result.prompt_tokens}}},
                  {"results", std::move(list)}});
}

Result<RerankResult> rerank(const Catalog& catalog, ModelManager& manager, const RerankCall& call, const Asker& asker) {
  ASSIGN_OR_RETURN(const ModelEntry entry, catalog.find(call.model));
  const auto& can = entry.capabilities;
  if (std::find(can.begin(), can.end(), "embedding") == can.end()) return does_not_rank(call.model);
  ASSIGN_OR_RETURN(const Lease lease, acquire(manager, call.model, std::nullopt, call.keep_alive_s, asker));
  if (lease->info.n_scores == 0) return does_not_rank(call.model);
  RerankResult result;
  for (size_t i = 0; i < call.texts.size(); ++i) {
    ASSIGN_OR_RETURN(const size_t room, room_for_pair(*lease, call, i));
    ASSIGN_OR_RETURN(const auto tokens, tokens_of_pair(*lease, call, i, asker));
    if (tokens.empty()) return invalid(fmt::format("'documents[{}]' and the query are empty", i));
    if (tokens.size() > room)
      return error(Code::kContextOverflow,
                   fmt::format("'documents[{}]' and the query exceed the context length: {} tokens, room for {}", i,
                               tokens.size(), room));
    result.prompt_tokens += tokens.size();
    RETURN_IF_ERROR(lease->scheduler->run(
        [&](Engine& engine) -> Result<void> {
          ASSIGN_OR_RETURN(const auto scores, engine.embed(tokens));
          result.ranked.push_back({.index = i, .score = scores.front()});
          return {};
        },
        asker));
  }
  std::stable_sort(result.ranked.begin(), result.ranked.end(),
                   [](const RankedText& a, const RankedText& b) { return a.score > b.score; });
  if (call.n_best && *call.n_best < result.ranked.size()) result.ranked.resize(*call.n_best);
  return result;
}

}  // namespace spillway
