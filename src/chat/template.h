// SPDX-License-Identifier: MIT
// The chat template of a model rendered byte for byte as its reference renders it: Jinja, from a GGUF, as python's
// jinja2 in the setting that transformers uses; Go's language, from a Modelfile, as Ollama.
//
// Templates are untrusted programs. Each runs in an interpreter of its own that sees nothing but the conversation,
// within limits of time, memory and stack: one that loops for ever ends with an error.
//
// Threads: a ChatTemplate may be used from any thread. Each call at a time takes an interpreter, of 256 MiB at the
// most, so callers see to it that they are few (serving/fair_places.h). A rendering takes about a millisecond.
#pragma once

#include <cstdint>
#include <ctime>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "chat/message.h"
#include "chat/output_format.h"

namespace spillway {

struct TemplateLimits {
  double render_s_max = 2.0;
  double looks_s_max = 10.0;  // of all renderings together that show what the template does
  uint64_t memory_bytes_max = 256ull << 20;
  uint64_t prompt_bytes_max = 64ull << 20;
};

struct TemplateOptions {
  std::string text;                            // tokenizer.chat_template, or a Modelfile's TEMPLATE
  std::string bos_token = {}, eos_token = {};  // as text; templates write them
  std::vector<std::string> end_tokens = {};    // texts of all tokens that end an answer, as far as they are known
  TemplateLimits limits = {};
};

struct PromptOptions {
  bool add_generation_prompt = true;
  // The last message, an assistant's, is not finished: the prompt ends behind its last character, and the answer goes
  // on from there. Without effect where continues_last_message() says no.
  bool continue_last_message = false;
  // nullopt: as the template does by itself. Templates call it enable_thinking or thinking; those that know levels
  // read reasoning_effort: "low", "medium", "high".
  std::optional<bool> think = {};
  std::string reasoning_effort = {};
  // Further variables for the template, as JSON text of an object (chat_template_kwargs); they win over ours.
  std::string variables = "{}";
  // What follows the gap that is to be filled in; the last message is what precedes it, and nothing else is said. For
  // templates that fill in.
  std::string suffix = {};
  std::optional<std::time_t> now = {};  // for templates that write the date; nullopt: the clock
};

struct Prompt {
  std::string text;
  // The text ends within a thought that the template opened: the answer begins as thinking. See ParserOptions.
  bool opens_thinking = false;
  bool within_answer =
      false;  // the text ends within what is for the reader: no thought and no mark precedes the answer
};

// Whether the last of `messages` may be gone on with: an assistant's, with text or a thought and without calls.
bool continues_last_message(std::span<const Message> messages);

// What a template makes use of, found by rendering it with and without.
struct TemplateTraits {
  bool tools = false;            // shows tools to the model, and how it calls one is known
  bool thinking = false;         // a model that thinks: its thoughts are marked, or can be switched
  bool thinking_switch = false;  // thinking can be turned on and off in the prompt
  bool reasoning_effort = false;
  bool fills_in = false;     // writes the prompt for what stands between two texts
  bool system_role = false;  // without it render() puts a system message in front of the first user message
  OutputFormat output;       // how the model marks thoughts and calls in what it writes
};

class ChatTemplate {
 public:
  //   Unsupported   neither Jinja nor Go, or more of it than the interpreter knows; the message says what
  //   OutOfBudget   beyond its limits already while it is parsed or looked at; so it stays for this process
  //   Busy          the system has no process for it now; the same again may succeed later
  static Result<std::unique_ptr<ChatTemplate>> open(TemplateOptions options);
  virtual ~ChatTemplate() = default;

  // The prompt for a conversation. Tool calls reach the template with their arguments as an object; a template that
  // wants text makes it itself.
  //   InvalidArgument   the template refuses this conversation (roles that do not alternate); the message is the
  //   template's
  //                     also: arguments, parameters or variables that are no JSON
  //   Unsupported       the template fails on it
  //   OutOfBudget       beyond its limits of time, memory or length
  virtual Result<Prompt> render(std::span<const Message> messages, std::span<const Tool> tools,
                                const PromptOptions& options) const = 0;

  virtual const TemplateTraits& traits() const = 0;
  virtual const std::string& text() const = 0;
};

}  // namespace spillway
