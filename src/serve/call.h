// SPDX-License-Identifier: MIT
// What a client asks for and what it gets, whatever protocol it speaks. A protocol's file makes these from JSON, and
// bytes from those; what lies between is the same for all. Plain values.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/status.h"
#include "chat/message.h"
#include "engine/engine.h"
#include "serving/asker.h"
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

// What a client knows one of its tools as, where that is not a function of the name that the model knows.
enum class ToolKind { kFunction, kCustom, kLocalShell, kShell, kApplyPatch, kToolSearch };
struct ToolOrigin {
  ToolKind kind = ToolKind::kFunction;
  std::string name, name_space;
};

// A text, or token ids.
using PromptValue = std::variant<std::string, std::vector<TokenId>>;

struct Call {
  std::string model;  // as the client wrote it
  CallKind kind = CallKind::kChat;
  // Several answers to one request: so many to each prompt. choices_of() makes a call of each.
  size_t n_choices = 1;
  // kRaw, kTokens, kInfill: instead of `prompt` and `tokens`; null: those. Shared: each answer is given a copy of a
  // call.
  std::shared_ptr<const std::vector<PromptValue>> prompts;
  bool echo = false;  // kRaw, kTokens: the answer begins with the prompt, and so do its scores
  std::vector<Message> messages;
  std::vector<Tool> tools;
  ToolChoice tool_choice = ToolChoice::kAuto;
  bool several_calls = true;                  // false: the answer ends with its first call
  std::map<std::string, ToolOrigin> origins;  // by the name that the model knows; none: a function of this name
  std::vector<std::string> strict_tools;      // whose arguments are to be as their schema says
  bool list_waiting_tools = false;            // while it is read: those that wait will never be called for
  std::string prompt, suffix;
  std::optional<std::string> system;  // for kText
  std::string own_template;           // instead of the model's; empty: none
  std::vector<TokenId> tokens;        // kTokens: the prompt; kText: what an earlier answer gave as its context
  CallOptions options;
  bool greedy_defaults_of_openai = false;  // temperature 1 and top_p 1 where nobody says anything
  bool any_json = false;                   // format: some JSON object
  std::string schema, grammar;             // format: what this JSON schema, or GBNF, admits; empty: anything
  bool strict_schema = false;              // what of it no grammar can express is refused, not left to the client
  std::optional<bool> think;
  std::string effort;          // "low", "medium", "high"
  bool hide_thinking = false;  // thoughts are made and not shown
  std::string template_variables = "{}";
  bool continue_last_message = true;  // where it is an assistant's: the answer goes on from its end
  bool stream = true;
  bool scores = false;
  size_t top_scores = 0;
  bool truncate = false, shift = false;  // what to do where the context is too small
  bool ignore_eos = false;
  bool fresh = false;  // nothing that was computed before is used
  std::optional<double> keep_alive_s;
  bool load_only = false;      // an empty prompt: load, or with keep_alive 0 unload
  bool include_usage = false;  // OpenAI's stream_options
  bool render_only = false;    // the rendered prompt instead of an answer
  bool count_only = false;     // its tokens, even where they do not fit
  bool progress = false;       // a stream also says what is waited for
  std::string asked;           // fields of the request for replies that repeat them, as their protocol keeps them
  Asker asker;                 // empty: stays, and has turns of nobody's
  // WebRequest::may_take. May be null.
  std::function<bool(uint64_t bytes)> may_take{};
  // What the request says and nothing here does, by name: for the log and a header of the reply.
  std::vector<std::string> not_applied;
};

// Whether its answer's text is to be JSON.
bool is_json(const Call& call);

// How many answers a call asks for: n_choices to each of its prompts.
size_t n_answers(const Call& call);

// What the call for one of them takes, with the longest of the prompts: its texts, tools, images and all else that a
// client may make as long as it likes.
size_t bytes_of_copy(const Call& call);

// The call for one of them, of n_answers(): those to the first prompt come first. A seed that was given goes on by one
// with each choice.
Call answer_of(Call call, size_t index);

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
  std::vector<std::string> not_applied;  // as of a Call
};

// A piece of an answer; any part may be empty.
struct AnswerPart {
  std::string content, thinking;
  std::vector<ToolCall> tool_calls;  // with ids
  std::vector<TokenScore> scores;
  size_t choice = 0;

  bool empty() const { return content.empty() && thinking.empty() && tool_calls.empty() && scores.empty(); }
};

// What is known of a prompt before anything of the answer is.
struct PromptCount {
  size_t prompt_tokens = 0, cached_tokens = 0;  // all; of those, not computed anew
};

// What a request waits for while there is nothing of an answer.
struct CallProgress {
  enum class Phase {
    kQueue,    // a slot
    kContext,  // a context of another size
    kLoading,  // a model, its own or one before it
    kPrompt,   // its prompt
  };
  Phase phase = Phase::kQueue;
  size_t ahead = 0;                          // kQueue: so many others wait too
  std::string model;                         // kLoading
  uint64_t done = 0, total = 0, cached = 0;  // kLoading: bytes; kPrompt: tokens, of which some need not be computed
  double elapsed_s = 0;                      // kLoading, kPrompt: since it began
  uint32_t n_ctx = 0;                        // kPrompt
};

struct AnswerEnd {
  FinishReason reason = FinishReason::kEnd;
  std::string stop_string;
  bool called_tools = false;
  bool ends_with_call = false;  // a whole one, and nothing behind it
  size_t prompt_tokens = 0, cached_tokens = 0, answer_tokens = 0;
  size_t thinking_tokens = 0;  // of the answer's, about: its thoughts, tokenized again
  double total_s = 0, load_s = 0, prompt_s = 0, decode_s = 0;
  EngineStats at_begin = {}, at_answer = {}, at_end = {};  // of all that the engine did, see Outcome
  std::vector<TokenId> context;
  bool loaded_only = false, unloaded = false;
  size_t choice = 0;
};

// All of one choice.
struct Answer {
  AnswerPart all;
  AnswerEnd end;
};

// There was more to say: not where a call had just become whole.
bool was_cut(const AnswerEnd& end);

struct EmbedResult {
  std::vector<std::vector<float>> vectors;
  size_t prompt_tokens = 0;
  double total_s = 0, load_s = 0;
};

// Makes one protocol's bytes from an answer. Used by one thread, for one answer.
class AnswerWriter {
 public:
  virtual ~AnswerWriter() = default;

  // Streamed: counted() once, before the first part; the parts in order, each choice's until its end(); when all have
  // ended, last(). Or failure(), after which there is nothing. Heartbeats at any time before that. Each but counted()
  // returns what is to be sent now, perhaps nothing.
  virtual const char* stream_type() const = 0;
  virtual void counted(const PromptCount&) {}
  virtual std::string part(const AnswerPart& part) = 0;
  virtual std::string end(const AnswerEnd& end) = 0;
  virtual std::string last() { return ""; }
  virtual std::string failure(const Status& status) = 0;
  virtual std::string heartbeat() = 0;                              // nothing new, but still there
  virtual std::string progress(const CallProgress&) { return ""; }  // where Call::progress asked for it

  // At once.
  virtual std::string whole(const AnswerPart& all, const AnswerEnd& end) = 0;

  // The prompt instead of an answer, where Call::render_only asked for it.
  virtual std::string rendered(const std::string& prompt);
  virtual std::string whole_of(const std::vector<Answer>& choices) {
    return whole(choices.front().all, choices.front().end);
  }
};

// A failure as its client is to be told of it: what is broken off because the server stops was left by nobody, and may
// be sent again. `is_stopping`: WebRequest's; may be empty.
Status as_told(const Status& status, const std::function<bool()>& is_stopping);

// HTTP's status for a failure before the first byte.
int http_status(const Status& status);

// When the same request may succeed; nullopt: not by waiting.
std::optional<int> retry_after_s(const Status& status);

}  // namespace spillway
