// SPDX-License-Identifier: MIT
// What a client asks for and what it gets, whatever protocol it speaks. A protocol's file makes these from JSON, and
// bytes from those; what lies between is the same for all. Plain values.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "chat/message.h"
#include "engine/engine.h"
#include "serving/ticket.h"

namespace spillway {

// Sampling and limits as far as somebody said something about them: a model file's parameters, a request's options.
struct CallOptions {
  std::optional<double> temperature, top_p, min_p, typical_p, repeat_penalty, presence_penalty, frequency_penalty;
  std::optional<int64_t> top_k, repeat_last_n, seed, num_predict, num_ctx, num_keep;
  std::optional<std::vector<std::string>> stop;
  std::vector<std::pair<TokenId, float>> logit_bias;
};

// What `over` says wins over what `base` says.
CallOptions merge_options(CallOptions base, const CallOptions& over);

enum class CallKind {
  kChat,    // messages, through the chat template
  kText,    // one prompt, through the chat template as a user's message
  kRaw,     // one prompt as it is
  kInfill,  // prompt and suffix
  kTokens,  // token ids as they are
};

enum class ToolChoice { kAuto, kNone, kRequired };

struct Call {
  std::string model;  // as the client wrote it
  CallKind kind = CallKind::kChat;
  std::vector<Message> messages;
  std::vector<Tool> tools;
  ToolChoice tool_choice = ToolChoice::kAuto;
  bool several_calls = true;  // with kRequired: perhaps more than one
  std::string prompt, suffix;
  std::optional<std::string> system;  // for kText
  std::string own_template;           // instead of the model's; empty: none
  std::vector<TokenId> tokens;        // kTokens: the prompt; kText: what an earlier answer gave as its context
  CallOptions options;
  bool greedy_defaults_of_openai = false;  // temperature 1 and top_p 1 where nobody says anything
  bool any_json = false;                   // format: some JSON object
  std::string schema, grammar;             // format: what this JSON schema, or GBNF, admits; empty: anything
  std::optional<bool> think;
  std::string effort;  // "low", "medium", "high"
  std::string template_variables = "{}";
  bool stream = true;
  bool scores = false;
  size_t top_scores = 0;
  bool truncate = false, shift = false;  // what to do where the context is too small
  bool ignore_eos = false;
  std::optional<double> keep_alive_s;
  bool load_only = false;      // an empty prompt: load, or with keep_alive 0 unload
  bool include_usage = false;  // OpenAI's stream_options
  bool render_only = false;    // the rendered prompt instead of an answer
};

struct EmbedCall {
  std::string model;
  std::vector<std::string> texts;
  std::vector<std::vector<TokenId>> token_texts;  // instead
  bool truncate = true;
  std::optional<int64_t> dimensions, num_ctx;
  std::optional<double> keep_alive_s;
  bool as_base64 = false;
  bool single = false;  // the legacy reply: one vector, as it is
  bool load_only = false;
};

// A piece of an answer; any part may be empty.
struct AnswerPart {
  std::string content, thinking;
  std::vector<ToolCall> tool_calls;  // with ids
  std::vector<TokenScore> scores;

  bool empty() const { return content.empty() && thinking.empty() && tool_calls.empty() && scores.empty(); }
};

// What is known of a prompt before anything of the answer is.
struct PromptCount {
  size_t prompt_tokens = 0, cached_tokens = 0;  // all; of those, not computed anew
};

struct AnswerEnd {
  FinishReason reason = FinishReason::kEnd;
  std::string stop_string;
  bool called_tools = false;
  size_t prompt_tokens = 0, cached_tokens = 0, answer_tokens = 0;
  double total_s = 0, load_s = 0, prompt_s = 0, decode_s = 0;
  std::vector<TokenId> context;
  bool loaded_only = false, unloaded = false;
};

struct EmbedResult {
  std::vector<std::vector<float>> vectors;
  size_t prompt_tokens = 0;
  double total_s = 0, load_s = 0;
};

// Makes one protocol's bytes from an answer. Used by one thread, for one answer.
class AnswerWriter {
 public:
  virtual ~AnswerWriter() = default;

  // Streamed: counted() once, before the first part; the parts in order; then end() or failure(). Heartbeats at any
  // time before that. Each but counted() returns what is to be sent now, perhaps nothing.
  virtual const char* stream_type() const = 0;
  virtual void counted(const PromptCount&) {}
  virtual std::string part(const AnswerPart& part) = 0;
  virtual std::string end(const AnswerEnd& end) = 0;
  virtual std::string failure(const Status& status) = 0;
  virtual std::string heartbeat() = 0;  // nothing new, but still there

  // At once.
  virtual std::string whole(const AnswerPart& all, const AnswerEnd& end) = 0;

  // The prompt instead of an answer, where Call::render_only asked for it.
  virtual std::string rendered(const std::string& prompt);
};

// HTTP's status for a failure before the first byte.
int http_status(const Status& status);

// When the same request may succeed; nullopt: not by waiting.
std::optional<int> retry_after_s(const Status& status);

}  // namespace spillway
