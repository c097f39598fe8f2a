// SPDX-License-Identifier: MIT
// JSON that the protocols have alike: tools, calls that come back, log probabilities, token ids. Pure.
#pragma once

#include <functional>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "serve/call.h"
#include "serve/json_input.h"

namespace spillway {

// A function that may be called: name, description, parameters.
//   InvalidArgument   also: no name
Result<Tool> parse_function(const Json& function);

// The arguments of a call as clients send them back: an object, or the text of one; anything else is "{}".
std::string arguments_text(const Json* arguments);

// "low", "medium" or "high" for what the protocols call an effort.
std::string effort_level(const std::string& effort);

// Gives results that name no tool that of the last call before them with their id, where there is one.
void name_tool_results(std::vector<Message>& messages);

// nullopt: not a list of ids.
std::optional<std::vector<TokenId>> token_ids(const Json& list);

// Of a token that is the name of a field: digits alone. nullopt: it is none.
std::optional<TokenId> token_of_key(std::string_view key);

// Each costs something with every token that is chosen.
inline constexpr size_t kBiasesMax = 10'000;

// "logprobs" and "top_logprobs" of a chat.
Result<void> parse_scores(const Json& json, Call& call);

// "model", "keep_alive" and "dimensions" of a request for embeddings. `own`: what else its endpoint reads.
Result<EmbedCall> parse_embed_call(const Json& json, std::span<const char* const> own);

// The vectors of an answer, each as `one` writes it: a list of JSON. Text by text, since a number takes 16 bytes in a
// tree of JSON.
std::string list_of_vectors(const EmbedResult& result, const std::function<Json(const std::vector<float>&)>& one);

// "progress" of a stream, as our own page reads it.
Json json_of_progress(const CallProgress& progress);

// {token, logprob, bytes}; and a list of those for its tops.
Json json_of_score(const TokenScore& score);
Json json_of_tops(const TokenScore& score);

// Whether a field that nobody here knows says that the conversation is more than its messages, or written otherwise: an
// answer without the rest would be one to another question.
bool says_more_than_messages(std::string_view field);

// The fields of a request that none of `known` lists: named in call.not_applied.
//   InvalidArgument   one of them says more than messages
Result<void> check_field_names(const Json& json, std::initializer_list<std::span<const char* const>> known, Call& call);

}  // namespace spillway
