// SPDX-License-Identifier: MIT
#include "serve/prepared_call.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <set>
#include <unordered_map>

#include "base/bytes.h"
#include "base/saturating_sub.h"
#include "chat/answer_grammar.h"
#include "chat/gbnf.h"
#include "grammar/grammar_automaton.h"
#include "serve/call_messages.h"
#include "serve/message_images.h"
#include "serve/ollama_options.h"
#include "serve/template_check.h"

namespace spillway {
namespace {

constexpr size_t kStopsMax = 20'000;          // each is looked for with every token
constexpr size_t kStopBytesMax = 8ull << 20;  // of all: what looks for them takes five times as much, for each answer

int32_t clamp_int(int64_t value, int64_t min, int64_t max) { return static_cast<int32_t>(std::clamp(value, min, max)); }

float finite_or(std::optional<double> value, double otherwise) {
  return static_cast<float>(value && std::isfinite(*value) ? std::clamp(*value, -1e6, 1e6) : otherwise);
}

Result<SamplingOptions> sampling_of(const CallOptions& o, bool openai, const LoadedModel& model) {
  SamplingOptions sampling;
  sampling.temp = std::max(0.0f, finite_or(o.temperature, openai ? 1.0 : sampling.temp));
  sampling.top_p = std::clamp(finite_or(o.top_p, openai ? 1.0 : sampling.top_p), 0.0f, 1.0f);
  sampling.min_p = std::clamp(finite_or(o.min_p, sampling.min_p), 0.0f, 1.0f);
  sampling.typical_p = std::clamp(finite_or(o.typical_p, sampling.typical_p), 0.0f, 1.0f);
  sampling.repeat_penalty = finite_or(o.repeat_penalty, sampling.repeat_penalty);
  if (sampling.repeat_penalty <= 0) sampling.repeat_penalty = 1.0f;
  sampling.frequency_penalty = finite_or(o.frequency_penalty, sampling.frequency_penalty);
  sampling.presence_penalty = finite_or(o.presence_penalty, sampling.presence_penalty);
  sampling.top_k = clamp_int(o.top_k.value_or(sampling.top_k), 0, INT32_MAX);
  const int64_t last_n = o.repeat_last_n.value_or(sampling.repeat_last_n);
  sampling.repeat_last_n = clamp_int(last_n < 0 ? int64_t{model.context_for(o.num_ctx)} : last_n, 0, 1 << 20);
  if (o.seed && *o.seed >= 0) sampling.seed = sampler_seed(*o.seed);
  for (const auto& [id, bias] : o.logit_bias) {
    if (id < 0 || id >= model.info.n_vocab)
      return invalid(
          fmt::format("logit_bias: token {} is outside the vocabulary of {} tokens", id, model.info.n_vocab));
    sampling.logit_bias.emplace_back(id, bias);
  }
  return sampling;
}

Result<void> check_capabilities(const LoadedModel& model, const Call& call) {
  const std::string full = model.entry.name.full();
  const bool text = model.info.has_decoder && !model.info.has_encoder;
  if (!text || !model.can("completion"))
    return invalid(
        fmt::format("\"{}\" does not support {}", call.model, call.kind == CallKind::kChat ? "chat" : "generate"));
  // "Could not process image" is what clients know: they go on without it. The user did not ask for
  // one that a tool returned: tell_of_images() says that it is there.
  for (const Message& message : call.messages)
    if (!model.info.sees_images && !message.images.empty() && message.role != "tool") {
      const std::string &place = message.images.front().place, &why = model.info.blind_why;
      const std::string words = why.empty() ? "does not support vision" : "was loaded without its projector: " + why;
      return invalid(fmt::format("{}{}Could not process image: {} {}", place, place.empty() ? "" : ": ", full, words));
    }
  const TemplateTraits& traits = model.traits();
  if (!call.tools.empty() && call.tool_choice != ToolChoice::kNone && !traits.tools)
    return invalid(fmt::format("{} does not support tools", full));
  if (call.think.value_or(false) && !call.greedy_defaults_of_openai && !model.can("thinking") && !traits.thinking)
    return invalid(fmt::format("\"{}\" does not support thinking", call.model));
  return {};
}

// Some templates open a thought whatever they are told. An empty one is what others write for a model that is not to
// think.
void close_thought(const LoadedModel& model, Prompt& prompt) {
  prompt.text += (prompt.text.ends_with('\n') ? "\n" : "\n\n") + model.traits().output.think_end + "\n\n";
  prompt.opens_thinking = false;
}

Result<Prompt> render(const LoadedModel& model, const std::vector<Message>& messages, const Call& call) {
  if (!model.form) return Failure(model.form.error());
  PromptOptions options;
  options.continue_last_message = call.continue_last_message;
  options.think = call.think;
  options.reasoning_effort = call.effort;
  options.variables = call.template_variables;
  auto rendered = model.form->chat_template->render(messages, call.tools, options);
  // Templates have rendered conversations when they were loaded: it is this one that is too much for its bounds.
  if (!rendered && rendered.error().code() == Code::kOutOfBudget)
    return error(
        Code::kContextOverflow,
        fmt::format("a conversation of {} messages and {} tools is too long for this model's chat template: {}",
                    messages.size(), call.tools.size(), rendered.error().message()));
  ASSIGN_OR_RETURN(Prompt prompt, std::move(rendered));
  const bool goes_on = call.continue_last_message && continues_last_message(messages);
  if (prompt.opens_thinking && !goes_on && !call.think.value_or(true)) close_thought(model, prompt);
  return prompt;
}

Result<void> check_text(const std::string& text) {
  if (text.size() <= kPromptBytesMax) return {};
  return error(Code::kContextOverflow,
               fmt::format("the prompt has {} bytes of text, and {} are the most here", text.size(), kPromptBytesMax));
}

Result<std::vector<TokenId>> tokenize_prompt(const LoadedModel& model, const MarkedImages& images,
                                             const std::string& text) {
  RETURN_IF_ERROR(check_text(text));
  const std::string& bos = model.info.bos_token;
  const bool has_bos = !bos.empty() && text.starts_with(bos);
  return images.tokenize(*model.engine, text, !has_bos, true);
}

Result<std::vector<TokenId>> tokens_behind(const LoadedModel& model, const MarkedImages& images,
                                           std::vector<TokenId> held, const std::string& text) {
  RETURN_IF_ERROR(check_text(text));
  ASSIGN_OR_RETURN(const auto tokens, images.tokenize(*model.engine, text, false, true));
  held.insert(held.end(), tokens.begin(), tokens.end());
  return held;
}

// What follows the tokens of an earlier answer: the end of that answer, as the template writes it, and the new turn.
// They hold the beginning of a text already, and the messages that come with the model.
Result<std::vector<TokenId>> continued_tokens(const LoadedModel& model, const MarkedImages& images, const Call& call,
                                              Prompt& prompt) {
  ASSIGN_OR_RETURN(prompt, render(model, continued_conversation(call.system.value_or(""), call.prompt), call));
  const size_t mark = prompt.text.rfind(continued_mark());
  if (mark != std::string::npos) {
    prompt.text.erase(0, mark + continued_mark().size());
  } else {
    // A template that shows no answers, or changes them: the turn alone.
    std::vector<Message> turn{plain_message("user", call.prompt)};
    if (call.system) turn.insert(turn.begin(), plain_message("system", *call.system));
    ASSIGN_OR_RETURN(prompt, render(model, turn, call));
    const std::string& bos = model.info.bos_token;
    if (!bos.empty() && prompt.text.starts_with(bos)) prompt.text.erase(0, bos.size());
  }
  return tokens_behind(model, images, call.tokens, prompt.text);
}

// Of what is rendered, split and read: images are looked at before.
size_t text_bytes(const Call& call) {
  size_t bytes = bytes_of_copy(call);
  for (const Message& message : call.messages)
    for (const MessageImage& image : message.images) bytes = saturating_sub(bytes, image.data.size());
  return bytes;
}

Status overflow(size_t n_tokens, size_t limit) {
  return {Code::kContextOverflow,
          fmt::format("request ({} tokens) exceeds the available context size ({} tokens), try increasing it", n_tokens,
                      limit)};
}

// A conversation that may have to be cut: its oldest messages go until it fits. System messages and the last one stay.
class CutChat {
 public:
  CutChat(const LoadedModel& model, const MarkedImages& images, const Call& call, const std::vector<Message>& messages,
          size_t limit)
      : model_(model), images_(images), call_(call), messages_(messages), limit_(limit) {
    for (size_t i = 0; i + 1 < messages.size(); ++i)
      if (messages[i].role != "system") may_go_.push_back(i);
  }

  // In a number of attempts that grows with the logarithm of the number of messages: a chat of thousands that is cut
  // message by message is rendered thousands of times.
  // n_cut: how many tokens the messages that went have, at least.
  Result<std::vector<TokenId>> tokens(Prompt& prompt, size_t& n_cut) {
    n_cut = 0;
    // A message takes a token at least: what must go by that alone is not rendered to see it.
    const size_t n_must_go = call_.truncate ? saturating_sub(may_go_.size(), limit_) : 0;
    auto whole = attempt(n_must_go);
    const bool cuts = call_.truncate && (whole ? !whole->fits : is_too_long(whole.error()));
    if (!cuts) {
      n_cut = n_must_go;
      return take(std::move(whole), prompt);
    }
    const size_t n_whole = n_must_go + (whole ? whole->n_tokens : limit_);
    // `few`: of messages that went, not enough. Then half of what is left, and so on.
    size_t few = n_must_go, enough = may_go_.size();
    auto best = attempt_near(enough, may_go_.size());
    if (!best || !best->fits) return take(std::move(best), prompt);
    enough = best->n_gone;
    while (enough - few > 1) {
      auto middle = attempt_near(few + (enough - few) / 2, enough - 1);
      if (!middle && middle.error().code() != Code::kInvalidArgument && !is_too_long(middle.error()))
        return Failure(middle.error());
      if (middle && middle->fits) {
        enough = middle->n_gone;
        best = std::move(middle);
      } else {
        few = middle ? middle->n_gone : few + (enough - few) / 2;
      }
      if (enough <= few) break;
    }
    n_cut = std::max(saturating_sub(n_whole, best->n_tokens), enough);
    return take(std::move(best), prompt);
  }

 private:
  struct Attempt {
    size_t n_gone = 0;
    Prompt prompt;
    std::vector<TokenId> tokens;
    size_t n_tokens = 0;  // at least
    bool fits = false;
  };

  // By the template's own bounds.
  static bool is_too_long(const Status& status) { return status.code() == Code::kContextOverflow; }

  Result<Attempt> attempt(size_t n_gone) const {
    std::vector<Message> kept;
    size_t gone = 0;
    for (size_t i = 0; i < messages_.size(); ++i) {
      if (gone < n_gone && may_go_[gone] == i)
        ++gone;
      else
        kept.push_back(messages_[i]);
    }
    Attempt made{.n_gone = n_gone, .prompt = {}, .tokens = {}};
    ASSIGN_OR_RETURN(made.prompt, render(model_, kept, call_));
    made.n_tokens = tokens_min(model_, made.prompt.text.size());
    if (made.n_tokens > limit_) return made;
    ASSIGN_OR_RETURN(made.tokens, tokenize_prompt(model_, images_, made.prompt.text));
    made.n_tokens = made.tokens.size();
    made.fits = made.tokens.size() < limit_ || (made.tokens.size() == limit_ && !call_.truncate);
    return made;
  }

  // Templates refuse conversations that begin in the middle of an exchange: then one that begins a little later.
  Result<Attempt> attempt_near(size_t n_gone, size_t n_gone_max) const {
    constexpr size_t kTries = 4;
    auto made = attempt(n_gone);
    for (size_t i = 1; i < kTries && !made && made.error().code() == Code::kInvalidArgument && n_gone + i <= n_gone_max;
         ++i)
      made = attempt(n_gone + i);
    return made;
  }

  Result<std::vector<TokenId>> take(Result<Attempt> made, Prompt& prompt) const {
    if (!made) return Failure(made.error());
    if (!made->fits) return Failure(overflow(made->n_tokens, limit_));
    prompt = std::move(made->prompt);
    return std::move(made->tokens);
  }

  const LoadedModel& model_;
  const MarkedImages& images_;
  const Call& call_;
  const std::vector<Message>& messages_;
  const size_t limit_;
  std::vector<size_t> may_go_;  // places in messages_, the oldest first
};

Result<std::shared_ptr<const Grammar>> read_grammar(const LoadedModel& model, const std::string& text) {
  // A grammar names a few tokens, if any, and some of them often.
  constexpr size_t kTokensMax = 10'000;
  std::unordered_map<std::string, std::optional<TokenId>> known;
  const auto token_number = [&](std::string_view token) -> std::optional<TokenId> {
    const auto [at, is_new] = known.try_emplace(std::string(token));
    if (!is_new || known.size() > kTokensMax) return at->second;
    const auto ids = model.engine->tokenize(at->first, false, true);
    if (ids && ids->size() == 1) at->second = ids->front();
    return at->second;
  };
  auto grammar = Grammar::parse(text, token_number);
  if (known.size() > kTokensMax) return invalid(fmt::format("the grammar names more than {} tokens", kTokensMax));
  if (!grammar) return Failure(grammar.error());
  RETURN_IF_ERROR(GrammarAutomaton::try_out(*grammar, {}));
  return std::move(*grammar);
}

std::vector<Tool> callable(std::vector<Tool> tools) {
  std::erase_if(tools, [](const Tool& tool) { return !tool.callable; });
  return tools;
}

// An answer in the model's form. A model that none came with goes on with the text of a prompt, unless it is to speak
// as in messages of its own.
bool is_answer(const LoadedModel& model, const Call& call) {
  if (call.kind == CallKind::kChat) return true;
  if (call.kind != CallKind::kText) return false;
  return !(model.form && model.form->completes && model.extras.messages.empty());
}

// What an answer is held to; empty: nothing. JSON is a format of its text: a call may come instead, and where one is
// required there is no text. A grammar of the client's own is one of all of the answer; Routes says what gives way.
Result<std::string> grammar_for(const Call& call, const OutputFormat& format) {
  const bool is_forced = call.tool_choice == ToolChoice::kRequired;
  std::string of_text = call.grammar;
  if (const std::string schema = call.any_json ? R"({"type":"object"})" : call.schema; !schema.empty()) {
    std::set<std::string> left_to_client;  // Routes has named it already
    ASSIGN_OR_RETURN(of_text, grammar_of_json_answer(format, schema, call.strict_schema ? nullptr : &left_to_client));
  }
  if (!is_forced && !is_json(call)) return of_text;
  const auto of_calls = grammar_of_calls(format, callable(call.tools), call.several_calls);
  if (!of_calls && of_calls.error().code() != Code::kNotFound) return Failure(of_calls.error());
  if (!of_calls) return of_text;
  return is_forced ? *of_calls : gbnf_either(*of_calls, of_text);
}

Result<void> constrain(const LoadedModel& model, const Call& call, Prompt& prompt, PreparedCall& prepared) {
  const bool templated = is_answer(model, call);
  const OutputFormat format = templated ? model.traits().output : OutputFormat{};
  ASSIGN_OR_RETURN(const std::string grammar, grammar_for(call, format));
  if (grammar.empty()) return {};
  ASSIGN_OR_RETURN(prepared.request.sampling.grammar, read_grammar(model, grammar));
  if (prompt.within_answer && call.grammar.empty() && call.tool_choice != ToolChoice::kRequired)
    return invalid("the last message is the assistant's and would be gone on with: no schema can hold for its rest");
  if (prompt.within_answer) return {};
  const bool thinks = templated && model.traits().thinking && call.think.value_or(true) &&
                      !format.think_begin.empty() && !format.think_end.empty();
  if (!thinks) return {};
  // The grammar begins behind the thought; a thought that the template leaves to the model is opened for it.
  if (!prompt.opens_thinking && !call.think.value_or(false)) return {};
  if (!prompt.opens_thinking) prompt.text += format.think_begin + "\n";
  prompt.opens_thinking = true;
  prepared.request.grammar_after = format.think_end;
  return {};
}

}  // namespace

namespace {

// The same model with another template is a form of it like any other.
Result<std::unique_ptr<const LoadedModel>> with_template(const LoadedModel& model, const Call& call) {
  RETURN_IF_ERROR(check_template(call.own_template));
  ModelExtras extras = model.extras;
  extras.template_text = call.own_template;
  extras.template_is_gguf = false;
  extras.renderer.clear();
  return std::make_unique<const LoadedModel>(model.entry, std::move(extras), model.weights, model.n_ctx_default);
}

}  // namespace

size_t tokens_min(const LoadedModel& model, size_t bytes) {
  const size_t token_bytes_max = model.info.token_bytes_max;
  return token_bytes_max > 0 ? bytes / token_bytes_max : 0;
}

std::string near_its_ends(const LoadedModel& model, const std::string& text, size_t limit) {
  if (limit >= text.size()) return text;  // not in that many tokens either; SIZE_MAX where nothing limits it
  const size_t keep = (limit + 16) * model.info.token_bytes_max;
  if (keep == 0 || text.size() / 2 <= keep) return text;
  const auto is_within = [&](size_t at) { return (static_cast<unsigned char>(text[at]) & 0xC0u) == 0x80u; };
  size_t begin = keep, end = text.size() - keep;
  while (is_within(begin)) --begin;
  while (is_within(end)) --end;
  return text.substr(0, begin) + text.substr(end);
}

namespace {

// When it is its turn.
Result<PreparedCall> made_ready(const LoadedModel& model, const Call& asked, const MarkedImages& images) {
  Call call = asked;
  if (call.tool_choice == ToolChoice::kNone) call.tools.clear();
  if (!model.info.sees_images) tell_of_images(call.messages);
  const size_t n_ctx = model.context_for(call.options.num_ctx);
  const CallOptions options = merge_options(stored_options(model.extras.parameters), call.options);

  PreparedCall prepared;
  GenerateRequest& request = prepared.request;
  ASSIGN_OR_RETURN(request.sampling, sampling_of(options, call.greedy_defaults_of_openai, model));
  request.max_tokens = options.num_predict.value_or(-1);
  if (request.max_tokens < 0) request.max_tokens = -1;
  request.stop = options.stop.value_or(std::vector<std::string>{});
  if (request.stop.size() > kStopsMax) return invalid(fmt::format("at most {} stop strings are looked for", kStopsMax));
  size_t stop_bytes = 0;
  for (const std::string& text : request.stop) stop_bytes += text.size();
  if (stop_bytes > kStopBytesMax)
    return invalid(fmt::format("stop strings may have {} together", format_bytes(kStopBytesMax)));
  // Ollama's clients replace the model's stop strings, those of the others add to them: they are the template's marks.
  if (call.greedy_defaults_of_openai && call.options.stop)
    if (const auto own = stored_options(model.extras.parameters).stop; own)
      request.stop.insert(request.stop.end(), own->begin(), own->end());
  request.scores = call.scores;
  request.top_scores = call.top_scores;
  request.shift = call.shift;
  request.n_ctx = n_ctx;
  request.n_keep = static_cast<size_t>(std::clamp<int64_t>(options.num_keep.value_or(4), 0, n_ctx / 2));
  request.ignore_eos = call.ignore_eos;
  request.fresh = call.fresh;
  const size_t limit = call.count_only ? SIZE_MAX : n_ctx;

  // What cannot fit and may not be cut is not split into tokens to see that.
  const auto check_length = [&](const std::string& text) -> Result<void> {
    const size_t n_tokens = tokens_min(model, text.size());
    if (n_tokens > limit && !call.truncate) return Failure(overflow(n_tokens, limit));
    return {};
  };
  // What is left of an image that was cut would be another.
  const auto shortened = [&](const std::string& text) {
    return images.empty() ? near_its_ends(model, text, limit) : text;
  };
  Prompt prompt;
  bool templated = false;
  switch (call.kind) {
    case CallKind::kChat: {
      templated = true;
      const std::vector<Message> messages = with_model_messages(model.extras, call.messages);
      ASSIGN_OR_RETURN(request.prompt, CutChat(model, images, call, messages, limit).tokens(prompt, prepared.n_cut));
      break;
    }
    case CallKind::kText: {
      templated = is_answer(model, call);
      if (!templated) {
        const std::string& system = call.system ? *call.system : model.extras.system;
        prompt.text = system.empty() || !call.tokens.empty() ? call.prompt : system + "\n\n" + call.prompt;
        RETURN_IF_ERROR(check_length(prompt.text));
        ASSIGN_OR_RETURN(request.prompt, call.tokens.empty()
                                             ? tokenize_prompt(model, images, shortened(prompt.text))
                                             : tokens_behind(model, images, call.tokens, shortened(prompt.text)));
        break;
      }
      if (!call.tokens.empty()) {
        ASSIGN_OR_RETURN(request.prompt, continued_tokens(model, images, call, prompt));
        break;
      }
      std::vector<Message> messages{plain_message("user", call.prompt)};
      if (call.system) messages.insert(messages.begin(), plain_message("system", *call.system));
      ASSIGN_OR_RETURN(prompt, render(model, with_model_messages(model.extras, std::move(messages)), call));
      RETURN_IF_ERROR(check_length(prompt.text));
      ASSIGN_OR_RETURN(request.prompt, tokenize_prompt(model, images, shortened(prompt.text)));
      break;
    }
    case CallKind::kRaw: {
      prompt.text = call.prompt;
      RETURN_IF_ERROR(check_length(call.prompt));
      ASSIGN_OR_RETURN(request.prompt, tokenize_prompt(model, images, shortened(call.prompt)));
      break;
    }
    case CallKind::kInfill: {
      RETURN_IF_ERROR(check_length(call.prompt + call.suffix));
      if (model.traits().fills_in) {
        ASSIGN_OR_RETURN(prompt, model.form->chat_template->render(std::vector{plain_message("user", call.prompt)}, {},
                                                                   {.suffix = call.suffix}));
        ASSIGN_OR_RETURN(request.prompt, tokenize_prompt(model, images, prompt.text));
        break;
      }
      RETURN_IF_ERROR(check_text(call.prompt + call.suffix));
      auto tokens = model.engine->infill_tokens(call.prompt, call.suffix);
      if (!tokens) return invalid(fmt::format("{} does not support insert", model.entry.name.full()));
      request.prompt = std::move(*tokens);
      break;
    }
    case CallKind::kTokens:
      request.prompt = call.tokens;
      break;
  }
  const std::string text_before = prompt.text;
  RETURN_IF_ERROR(constrain(model, call, prompt, prepared));
  if (prompt.text != text_before) {
    const bool continued = call.kind == CallKind::kText && !call.tokens.empty();
    ASSIGN_OR_RETURN(request.prompt, continued ? tokens_behind(model, images, call.tokens, shortened(prompt.text))
                                               : tokenize_prompt(model, images, shortened(prompt.text)));
  }
  if (prepared.n_cut == 0 && !images.all_in(prompt.text))
    return invalid(
        fmt::format("{}: its chat template leaves out an image, or shows it twice", model.entry.name.full()));
  request.images = images.images();
  if (request.prompt.size() > limit) {
    if (!call.truncate || !images.empty() || call.kind == CallKind::kChat)
      return Failure(overflow(request.prompt.size(), limit));
    // The beginning that is to be kept, and the end.
    const size_t n_keep = std::min(request.n_keep, limit / 2), n = std::max<size_t>(limit * 3 / 4, 1);
    std::vector<TokenId> cut(request.prompt.begin(), request.prompt.begin() + static_cast<std::ptrdiff_t>(n_keep));
    cut.insert(cut.end(), request.prompt.end() - static_cast<std::ptrdiff_t>(saturating_sub(n, n_keep)),
               request.prompt.end());
    prepared.n_cut = request.prompt.size() - cut.size();
    request.prompt = std::move(cut);
  }
  // An answer that shifts its context has no other end, and holds its slot for as long.
  const int64_t n_shifted_max = static_cast<int64_t>(n_ctx) * 10;
  if (request.shift && (request.max_tokens < 0 || request.max_tokens > n_shifted_max))
    request.max_tokens = n_shifted_max;
  prepared.prompt_text = MarkedImages::readable(prompt.text);
  if (templated) {
    ParserOptions parser;
    parser.format = model.traits().output;
    parser.skips_first_blanks = model.form && model.form->plain;
    parser.starts_in_thinking = prompt.opens_thinking;
    // A call that is forced begins here, as it may where nothing was said yet.
    parser.starts_in_answer = prompt.within_answer && call.tool_choice != ToolChoice::kRequired;
    parser.tools = callable(call.tools);
    parser.calls_are_forced = call.tool_choice == ToolChoice::kRequired;
    request.special_text = true;
    if (model.form) request.stop.insert(request.stop.end(), model.form->stop.begin(), model.form->stop.end());
    prepared.parser = std::move(parser);
  }
  return prepared;
}

}  // namespace

CallPreparation::CallPreparation(const LoadedModel& model, const Call& call) : model_(model), call_(call) {}

// 1. What it brings: a template. 2. Whether the model can do it. 3. Its images, one with each step. 4. The prompt.
std::optional<Result<PreparedCall>> CallPreparation::step(std::chrono::milliseconds patience) {
  if (!call_.own_template.empty() && own_model_ == nullptr) return look_at_template(patience);
  if (!is_checked_) {
    if (const auto can = check_capabilities(model(), call_); !can) return Failure(can.error());
    is_checked_ = true;
    if (model().info.sees_images) images_.emplace(call_.messages);
  }
  if (images_ && !images_->is_done()) return look_at_image(patience);
  if (turn_ == nullptr) turn_ = turn_to_prepare(model(), text_bytes(call_), call_.asker.client);
  if (!turn_->wait(patience)) return std::nullopt;
  const auto has_come = std::move(turn_);  // it goes, whatever happens
  return made_ready(model(), call_, images_ ? images_->take() : MarkedImages());
}

std::optional<Result<PreparedCall>> CallPreparation::look_at_template(std::chrono::milliseconds patience) {
  if (template_turn_ == nullptr) template_turn_ = turn_for_template(call_.asker.client);
  if (!template_turn_->wait(patience)) {
    if (since_made_.elapsed_s() < std::chrono::duration<double>(kTemplatePatience).count()) return std::nullopt;
    return error(Code::kBusy, "too many others bring templates; try again");
  }
  const auto has_come = std::move(template_turn_);
  auto own = with_template(model_, call_);
  if (!own) return Failure(own.error());
  own_model_ = *std::move(own);
  return std::nullopt;
}

std::optional<Result<PreparedCall>> CallPreparation::look_at_image(std::chrono::milliseconds patience) {
  if (image_turn_ == nullptr) image_turn_ = turn_to_look(model(), call_.asker.client);
  if (!image_turn_->wait(patience)) return std::nullopt;
  const auto has_come = std::move(image_turn_);
  if (const auto seen = images_->look(*model().engine); !seen) return Failure(seen.error());
  return std::nullopt;
}

Result<PreparedCall> prepare_call(const LoadedModel& model, const Call& call) {
  constexpr std::chrono::milliseconds kLook{250};  // how long somebody who left may go unnoticed
  CallPreparation preparation(model, call);
  for (;;) {
    if (call.asker.has_left()) return error(Code::kCancelled, "the client went away");
    if (auto prepared = preparation.step(kLook)) return *std::move(prepared);
  }
}

}  // namespace spillway
