// SPDX-License-Identifier: MIT
// The paths about the server itself and what it runs.
#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "base/saturating_sub.h"
#include "serve/answer.h"
#include "serve/body_reading.h"
#include "serve/error_body.h"
#include "serve/model_json.h"
#include "serve/openai.h"
#include "serve/prepared_call.h"
#include "serve/routes.h"
#include "serve/ui/residency_json.h"
#include "serving/fair_places.h"

namespace spillway {
namespace {

// A few forecasts are planned at a time: each takes a processor, and hundreds would take them from answers under way.
Result<FairPlaces::Place> place_to_plan(const Asker& asker) {
  static FairPlaces places(2);
  return places.take(asker, false);
}

struct TokenizeRequest {
  std::string model, text;
  bool add_special = false, parse_special = true, with_pieces = false;
};
// In llama-server's words, or vLLM's.
Result<TokenizeRequest> parse_tokenize(std::string_view body) {
  ASSIGN_OR_RETURN(const Json json, parse_json_object(body));
  ASSIGN_OR_RETURN(const auto model, string_field(json, "model"));
  ASSIGN_OR_RETURN(auto content, string_field(json, "content"));
  ASSIGN_OR_RETURN(auto add_special, bool_field(json, "add_special"));
  const bool vllm = !content && find_field(json, "prompt") != nullptr;
  if (vllm) {
    ASSIGN_OR_RETURN(content, string_field(json, "prompt"));
    ASSIGN_OR_RETURN(add_special, bool_field(json, "add_special_tokens"));
  }
  if (content.value_or("").size() > kPromptBytesMax)
    return invalid(fmt::format("'{}' is larger than {} MiB", vllm ? "prompt" : "content", kPromptBytesMax >> 20));
  ASSIGN_OR_RETURN(const auto parse_special, bool_field(json, "parse_special"));
  ASSIGN_OR_RETURN(const auto with_pieces, bool_field(json, "with_pieces"));
  return TokenizeRequest{.model = model.value_or(""),
                         .text = std::move(content).value_or(""),
                         .add_special = add_special.value_or(vllm),
                         .parse_special = parse_special.value_or(true),
                         .with_pieces = with_pieces.value_or(false)};
}

struct DetokenizeRequest {
  std::string model;
  std::vector<TokenId> tokens;  // of no vocabulary yet; -1: no token's number
};
Result<DetokenizeRequest> parse_detokenize(std::string_view body) {
  ASSIGN_OR_RETURN(const Json json, parse_json_object(body));
  DetokenizeRequest asked;
  ASSIGN_OR_RETURN(const auto model, string_field(json, "model"));
  asked.model = model.value_or("");
  const Json* tokens = find_field(json, "tokens");
  if (tokens == nullptr || !tokens->is_array()) return invalid("'tokens' must be of type array");
  for (const Json& id : *tokens) {
    const bool is_id = id.is_number_integer() && id.get<int64_t>() >= 0 && id.get<int64_t>() <= INT32_MAX;
    asked.tokens.push_back(is_id ? static_cast<TokenId>(id.get<int64_t>()) : -1);
  }
  return asked;
}

}  // namespace

WebReply Routes::root(const WebRequest& request) {
  if (!options_.pages.empty() && request.header("accept").find("text/html") != std::string::npos) return page(request);
  return {.content_type = "text/plain; charset=utf-8", .body = "Ollama is running"};
}

WebReply Routes::page(const WebRequest& request) {
  std::string path = request.path;
  if (path == "/" || path == "/ui" || path == "/ui/") path = "/ui/index.html";
  const auto found = options_.pages.find(path);
  if (found == options_.pages.end())
    return {.status = 404, .content_type = "text/plain; charset=utf-8", .body = "404 page not found"};
  return {.content_type = found->second.first,
          .body = found->second.second,
          // No other site may show the page in a frame and have its buttons pressed.
          .headers = {{"Cache-Control", "no-cache"},
                      {"X-Content-Type-Options", "nosniff"},
                      {"Content-Security-Policy", "frame-ancestors 'none'"}}};
}

WebReply Routes::version(const WebRequest&) { return {.body = to_text({{"version", options_.ollama_version}})}; }

WebReply Routes::health(const WebRequest&) { return {.body = R"({"status":"ok"})"}; }

WebReply Routes::metrics(const WebRequest&) {
  return {.content_type = "text/plain; version=0.0.4; charset=utf-8", .body = prometheus_text(manager_.running())};
}

WebReply Routes::props(const WebRequest&) {
  Json models = Json::array();
  for (const RunningModel& running : manager_.running())
    models.push_back({{"model", running.entry.name.shown()},
                      {"path", running.info.path},
                      {"description", running.info.description},
                      {"n_ctx", running.n_ctx},
                      {"n_ctx_train", running.info.n_ctx_train},
                      {"n_slots", running.stats.sequences.size()},
                      {"chat_template", running.info.chat_template},
                      {"bos_token", running.info.bos_token},
                      {"eos_token", running.info.eos_token}});
  return {.body = to_text({{"server", "spillway"},
                           {"version", options_.version},
                           {"ollama_api_version", options_.ollama_version},
                           {"n_parallel", manager_.options().n_parallel},
                           {"models", std::move(models)}})};
}

WebReply Routes::slots(const WebRequest& request) {
  Json slots = Json::array();
  bool any_free = false;
  for (const RunningModel& running : manager_.running()) {
    const Json live_model = json_of_live(running);
    for (Json slot : live_model["slots"]) {
      slot["model"] = running.entry.name.shown();
      any_free = any_free || !slot["is_processing"].get<bool>();
      slots.push_back(std::move(slot));
    }
  }
  if (!slots.empty() && !any_free && request.query.count("fail_on_no_slot") > 0)
    return failure({Code::kBusy, "no slot available"}, Protocol::kOpenAi, request);
  return {.body = to_text(slots)};
}

Result<std::string> Routes::model_named(const WebRequest& request, const std::string& named) const {
  if (!named.empty()) return named;
  if (const auto query = request.query.find("model"); query != request.query.end()) return query->second;
  const auto running = manager_.running();
  if (running.size() == 1) return running.front().entry.name.shown();
  ASSIGN_OR_RETURN(const auto all, catalog_.list());
  if (all.size() == 1) return all.front().name.shown();
  return error(Code::kInvalidArgument, "model is required: there is more than one");
}

WebReply Routes::tokenize(const WebRequest& request) {
  auto outcome = [&]() -> Result<std::string> {
    ASSIGN_OR_RETURN(const TokenizeRequest asked, read_body(request, parse_tokenize));
    if (!request.takes(asked.text.size())) return Failure(too_many_at_once());
    ASSIGN_OR_RETURN(const std::string name, model_named(request, asked.model));
    ASSIGN_OR_RETURN(const Lease lease, acquire(manager_, name, std::nullopt, std::nullopt, request.asker()));
    ASSIGN_OR_RETURN(const auto place, place_to_prepare(*lease, asked.text.size(), request.asker()));
    ASSIGN_OR_RETURN(const auto tokens, lease->engine->tokenize(asked.text, asked.add_special, asked.parse_special));
    if (!request.takes(tokens.size() * sizeof(TokenId))) return Failure(too_many_at_once());
    // 8 million of them as a tree of JSON took 2 GB. As text they are 200 MB with their pieces, and counted while they
    // are written.
    constexpr size_t kCountedBytes = 1 << 20;
    std::string reply = R"({"tokens":[)";
    size_t counted_bytes = 0;
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (i > 0) reply += ',';
      if (asked.with_pieces)
        reply += to_text({{"id", tokens[i]}, {"piece", lease->engine->token_text(tokens[i], true)}});
      else
        reply += std::to_string(tokens[i]);
      if (reply.size() < counted_bytes + kCountedBytes) continue;
      if (!request.takes(reply.size() - counted_bytes)) return Failure(too_many_at_once());
      counted_bytes = reply.size();
    }
    reply += fmt::format(R"(],"count":{},"max_model_len":{}}})", tokens.size(), lease->scheduler->n_ctx());
    return reply;
  }();
  if (!outcome) return failure(outcome.error(), Protocol::kOpenAi, request);
  return {.body = *std::move(outcome)};
}

WebReply Routes::detokenize(const WebRequest& request) {
  const auto outcome = [&]() -> Result<std::string> {
    ASSIGN_OR_RETURN(const DetokenizeRequest asked, read_body(request, parse_detokenize));
    if (!request.takes(asked.tokens.size() * sizeof(TokenId))) return Failure(too_many_at_once());
    ASSIGN_OR_RETURN(const std::string name, model_named(request, asked.model));
    ASSIGN_OR_RETURN(const Lease lease, acquire(manager_, name, std::nullopt, std::nullopt, request.asker()));
    ASSIGN_OR_RETURN(const auto place, place_to_prepare(*lease, asked.tokens.size(), request.asker()));
    std::string text;
    for (const TokenId id : asked.tokens) {
      if (id < 0 || id >= lease->info.n_vocab)
        return invalid(fmt::format("'tokens' must be integers from 0 to {}", lease->info.n_vocab - 1));
      text += lease->engine->token_text(id, true);
      if (text.size() > kPromptBytesMax)
        return invalid(fmt::format("'tokens' are a text of more than {} MiB", kPromptBytesMax >> 20));
    }
    return to_text({{"content", text}, {"prompt", text}});
  }();
  if (!outcome) return failure(outcome.error(), Protocol::kOpenAi, request);
  return {.body = *outcome};
}

// As vLLM tells of a tokenizer: lm-eval then needs none of its own.
WebReply Routes::tokenizer_info(const WebRequest& request) {
  const auto outcome = [&]() -> Result<Json> {
    ASSIGN_OR_RETURN(const std::string name, model_named(request));
    ASSIGN_OR_RETURN(const Lease lease, acquire(manager_, name, std::nullopt, std::nullopt, request.asker()));
    const ModelInfo& info = lease->info;
    const auto or_null = [](const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); };
    return Json{{"tokenizer_class", "gguf"},
                {"vocab_size", info.n_vocab},
                {"bos_token", or_null(info.bos_token)},
                {"eos_token", or_null(info.eos_token)},
                {"pad_token", nullptr},
                {"chat_template", or_null(lease->form ? lease->form->chat_template->text() : "")},
                {"model_max_length", lease->scheduler->n_ctx()}};
  }();
  if (!outcome) return failure(outcome.error(), Protocol::kOpenAi, request);
  return {.body = to_text(*outcome)};
}

WebReply Routes::apply_template(const WebRequest& request) {
  auto call = read_body(request, parse_openai_chat);
  if (!call) return failure(call.error(), Protocol::kOpenAi, request);
  if (!request.takes(saturating_sub(uint64_t{bytes_of_copy(*call)}, request.body.size())))
    return failure(too_many_at_once(), Protocol::kOpenAi, request);
  const auto lease = acquire(manager_, call->model, std::nullopt, std::nullopt, request.asker());
  if (!lease) return failure(lease.error(), Protocol::kOpenAi, request);
  call->asker = request.asker();
  const auto prepared = prepare_call(**lease, *call);
  if (!prepared) return failure(prepared.error(), Protocol::kOpenAi, request);
  return {.body = to_text({{"prompt", prepared->prompt_text}})};
}

WebReply Routes::live(const WebRequest&) {
  Json models = Json::array();
  for (const RunningModel& running : manager_.running()) models.push_back(json_of_live(running));
  const LoadQueue queue = manager_.load_queue();
  Json loading;
  if (queue.loading) {
    const uint64_t total = queue.loading->bytes;
    loading = {{"model", queue.loading->entry.name.shown()},
               {"done", static_cast<uint64_t>(static_cast<double>(total) * queue.loading->fraction)},
               {"total", total},
               {"elapsed_s", queue.loading->elapsed_s}};
  }
  return {.body = to_text({{"time", rfc3339(options_.unix_s())},
                           {"loading", std::move(loading)},
                           {"waiting", queue.waiting},
                           {"models", std::move(models)}})};
}

WebReply Routes::residency(const WebRequest& request) {
  const auto named = model_named(request);
  if (!named) return failure(named.error(), Protocol::kOllama, request);
  const auto entry = catalog_.find(*named);
  if (!entry) return failure(entry.error(), Protocol::kOllama, request);
  const std::string name = entry->name.shown();
  const auto residency = manager_.residency(name);
  if (!residency)
    return failure({Code::kNotFound, fmt::format("model '{}' is not loaded", name)}, Protocol::kOllama, request);
  return {.body = residency_json(name, *residency)};
}

// Where each loaded model's weights were planned to live.
WebReply Routes::plan(const WebRequest&) {
  Json models = Json::array();
  for (const RunningModel& running : manager_.running()) {
    const Placement& placement = running.placement;
    models.push_back({{"model", running.entry.name.shown()},
                      {"mode", mode_name(placement.mode)},
                      {"why", placement.why},
                      {"kernels", kernels_name(placement.kernels)},
                      {"n_layer", running.info.n_layer},
                      {"n_expert", running.info.n_expert},
                      {"tiers",
                       {{"pinned_bytes", placement.pinned_bytes},
                        {"ring_tensor_bytes", placement.ring_tensor_bytes},
                        {"expert_tensor_bytes", placement.expert_tensor_bytes},
                        {"rows_bytes", placement.rows_bytes},
                        {"pool_bytes", placement.pool_bytes},
                        {"ring_pool_bytes", placement.ring_pool_bytes}}},
                      {"predicted_tok_per_s", placement.predicted_tok_per_s},
                      {"bytes_read_per_token", placement.bytes_read_per_token}});
  }
  return {.body = to_text({{"models", std::move(models)}})};
}

// How a model will run, before it is loaded; of one that is, how it does.
WebReply Routes::forecast(const WebRequest& request) {
  const auto outcome = [&]() -> Result<Json> {
    if (!options_.forecast) return error(Code::kNotFound, "this server makes no forecasts");
    const auto named = request.query.find("model");
    if (named == request.query.end() || named->second.empty()) return invalid("model is required");
    ASSIGN_OR_RETURN(const ModelEntry entry, catalog_.find(named->second));
    const auto running = manager_.running();
    bool busy = false;
    for (const RunningModel& model : running) {
      for (const SequenceState& slot : model.stats.sequences) busy = busy || slot.busy;
      const Placement& placement = model.placement;
      if (std::any_of(model.names.begin(), model.names.end(),
                      [&](const ServedName& name) { return same_name(name.entry.name, entry.name); }))
        return json_of_forecast({.mode = mode_name(placement.mode),
                                 .why = placement.why,
                                 .tok_per_s = placement.predicted_tok_per_s,
                                 .bytes_read_per_token = placement.bytes_read_per_token,
                                 .weights_bytes = model.info.weight_bytes,
                                 .memory_bytes = model.memory.budget_bytes},
                                entry, true);
    }
    uint32_t n_ctx = manager_.options().n_ctx;  // 0: the forecast chooses, as a load does
    if (entry.details.context_length > 0)
      n_ctx = static_cast<uint32_t>(std::min<uint64_t>(n_ctx, entry.details.context_length));
    ForecastRequest asked{.path = entry.path, .n_ctx = n_ctx, .may_measure = !busy};
    for (LoraAdapter& adapter : manager_.adapters_of(entry)) asked.adapter_paths.push_back(std::move(adapter.path));
    asked.projector_path = manager_.projector_of(entry);
    ASSIGN_OR_RETURN(const FairPlaces::Place place, place_to_plan(request.asker()));
    ASSIGN_OR_RETURN(const Forecast forecast, options_.forecast(asked));
    return json_of_forecast(forecast, entry, false);
  }();
  if (!outcome) return failure(outcome.error(), Protocol::kOllama, request);
  return {.body = to_text(*outcome)};
}

// What other servers have under these paths; each gets one sentence, not silence.
WebReply Routes::not_done_here(const WebRequest& request) {
  const std::string path = path_of(request);
  std::string why = fmt::format("this server has no {}", path);
  if (path.starts_with("/v1/audio/")) why = "this server neither hears nor speaks: there are no audio models here";
  if (path.starts_with("/v1/images/")) why = "this server makes no images: it runs language models";
  if (path == "/v1/moderations") why = "this server has no moderation models";
  if (path == "/v1/systemone") why = "this server has no decision models";
  const Protocol protocol = speaks_anthropic(request) ? Protocol::kAnthropic : Protocol::kOpenAi;
  WebReply reply = failure({Code::kUnsupported, why}, protocol, request);
  reply.status = 501;
  return reply;
}

// ---- ollama.com's account, which there is none of here

WebReply Routes::cloud_status(const WebRequest&) { return {.body = R"({"cloud":{"disabled":true,"source":"env"}})"}; }
WebReply Routes::cloud_me(const WebRequest&) { return {.status = 401, .body = R"({"error":"unauthorized"})"}; }
WebReply Routes::recommendations(const WebRequest&) { return {.body = R"({"recommendations":[]})"}; }
WebReply Routes::cloud_refused(const WebRequest&) {
  return {.status = 403, .body = R"({"error":"this server has no cloud features"})"};
}

}  // namespace spillway
