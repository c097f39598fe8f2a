// SPDX-License-Identifier: MIT
// spillway run: loads a model, and answers a prompt or chats.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "base/bytes.h"
#include "cli/adapter_options.h"
#include "cli/commands.h"
#include "cli/device_choice.h"
#include "cli/interrupt.h"
#include "cli/model_argument.h"
#include "cli/model_defaults.h"
#include "cli/progress_bar.h"
#include "cli/projector_options.h"
#include "cli/pull_offer.h"
#include "cli/run/chat.h"
#include "cli/run/run_call.h"
#include "cli/run/run_options.h"
#include "cli/run/run_output.h"
#include "cli/serve_environment.h"
#include "cli/text_input.h"

namespace spillway {
namespace {

// Of the budget, for ways back in a chat: models with sliding windows or a state need what they held earlier. Those of
// a model of 30 layers that look back over 1,000 tokens take some 100 MB.
constexpr uint64_t kChatCacheBytes = 128 * MiB;

// What is to be answered. Neither of the two: a chat.
struct Input {
  std::optional<std::string> text;
  std::optional<std::vector<TokenId>> ids;
};

bool is_terminal(int fd) { return isatty(fd) == 1; }

Result<Input> read_input(const RunOptions& options) {
  if (!options.token_ids.empty()) {
    ASSIGN_OR_RETURN(auto ids, read_token_ids(options.token_ids));
    return Input{.text = {}, .ids = std::move(ids)};
  }
  if (options.prompt) {
    // `git diff | spillway run m --prompt "Review this."`: what came through the pipe, then what is to be done with it.
    ASSIGN_OR_RETURN(const std::string piped, options.chat ? std::string() : read_piped_text());
    const std::string text = without_last_newline(piped);
    return Input{.text = text.empty() ? *options.prompt : text + "\n\n" + *options.prompt, .ids = {}};
  }
  const bool from_stdin = !options.chat && !is_terminal(STDIN_FILENO);
  if (!options.prompt_path && !from_stdin) return Input{};
  ASSIGN_OR_RETURN(std::string text, read_text(options.prompt_path.value_or("-")));
  return Input{.text = without_last_newline(std::move(text)), .ids = {}};
}

Result<std::unique_ptr<Engine>> load(LoadOptions options) {
  ProgressBar progress("loading");
  options.progress = [&](double fraction) {
    progress.show(fraction);
    return !interrupted();
  };
  return Engine::load(options);
}

// A model that is not here is offered for download.
Result<NamedModel> find_model(const RunOptions& options) {
  auto model = resolve_named_model(options.load.path);
  const auto name = remote_name(options.load.path);
  if (model || !name || model.error().code() != Code::kNotFound) return model;
  LoadOptions load = options.load;
  ASSIGN_OR_RETURN(load.gpu_memory_bytes, gpu_memory_of(options));
  RETURN_IF_ERROR(offer_pull(options.load.path, *name, load, options.pull));
  return resolve_named_model(options.load.path);
}

// What can be said before anything is computed.
Result<void> check_model(const ModelInfo& model, const Input& input, bool chat) {
  if (!model.has_decoder)
    return error(Code::kUnsupported,
                 fmt::format("{}: this model computes embeddings, not text: it cannot answer a prompt", model.path));
  if (!model.has_tokenizer && !input.ids)
    return error(Code::kUnsupported,
                 fmt::format("{}: the model has no tokenizer; give it token ids with --token-ids", model.path));
  if (model.has_encoder && chat)
    return error(Code::kUnsupported,
                 fmt::format("{}: an encoder-decoder model turns one text into another and does not chat; use --prompt",
                             model.path));
  return {};
}

// Nothing is loaded that nobody asked for: the projector beside a model where there is an image to look at, or where
// one may come later.
Result<void> take_projector(const NamedModel& model, bool chat, RunOptions& options) {
  if (chat && options.image_paths.empty() && options.projector.empty()) {
    options.load.projector_path = projector_path("", model);
    options.load.projector_is_optional = true;
    return {};
  }
  if (options.image_paths.empty() && (options.projector.empty() || options.projector == kNoProjector)) return {};
  options.load.projector_path = projector_path(options.projector, model);
  if (!options.load.projector_path.empty()) return {};
  return error(Code::kInvalidArgument,
               fmt::format("{}: sees no images: {}", model.path,
                           options.projector == kNoProjector
                               ? "--mmproj none leaves its projector out"
                               : "no projector (mmproj) for it lies beside it; name one with --mmproj"));
}

// The prompt, and how its answer is made. Token ids, and what an encoder reads, are taken as they are.
Result<PreparedCall> prepare(const LoadedModel& model, const RunOptions& options, const Input& input) {
  PreparedCall prepared;
  prepared.request.stop = options.generation.stop;
  if (input.ids) {
    prepared.request.prompt = *input.ids;
    return prepared;
  }
  if (input.text->empty()) return error(Code::kInvalidArgument, "the prompt is empty");
  if (model.info.has_encoder) {
    ASSIGN_OR_RETURN(prepared.request.prompt, model.engine->tokenize(*input.text, true, true));
    return prepared;
  }
  ASSIGN_OR_RETURN(const Message message, user_message(*model.engine, *input.text, options.image_paths));
  return prepare_answer(model, options, {message}, false);
}

Result<void> check_encoder_room(const RunOptions& options, const ModelInfo& model, size_t n_tokens) {
  const size_t room = std::min({model.n_ubatch, options.load.n_batch, model.n_ctx});
  if (!model.has_encoder || n_tokens <= room) return {};
  return error(Code::kInvalidArgument,
               fmt::format("the encoder takes {} tokens at once and the prompt has {}; raise --ubatch, "
                           "--batch and --context",
                           room, n_tokens));
}

// Enough tokens to tell, and none of them forced: the next plan learns from it.
void remember_speed(Engine& engine, const Generation& generation) {
  constexpr size_t kMeasuredTokensMin = 16;
  const RunMeasurement& measured = generation.measured;
  if (measured.decode_tokens < kMeasuredTokensMin || measured.decode_s <= 0) return;
  engine.remember_speed(static_cast<double>(measured.decode_tokens) / measured.decode_s);
}

Result<int> answer_once(std::unique_ptr<Engine> loaded, const RunOptions& options, const Input& input) {
  const auto model = model_of_run(std::move(loaded), options, false);
  Engine& engine = *model->engine;
  const AbortOnInterrupt abort_on_interrupt(engine);
  ASSIGN_OR_RETURN(PreparedCall prepared, prepare(*model, options, input));
  RETURN_IF_ERROR(check_encoder_room(options, model->info, prepared.request.prompt.size()));
  GenerationOptions generation_options = options.generation;
  generation_options.images = prepared.request.images;
  generation_options.stop = prepared.request.stop;
  generation_options.special_text = prepared.request.special_text;
  Generator generator(engine, std::move(generation_options));
  AnswerOutput output(options, prepared.parser ? OutputParser::make(*std::move(prepared.parser)) : nullptr);
  ASSIGN_OR_RETURN(Generation generation, generator.generate(prepared.request.prompt, output.hooks()));
  ASSIGN_OR_RETURN(const bool written, output.finish(engine, generation));
  if (!written) return kExitPipeClosed;
  remember_speed(engine, generation);
  return generation.stop_reason == StopReason::kInterrupted ? kExitInterrupted : kExitOk;
}

Result<int> run(RunOptions options, const IsGiven& is_given) {
  // 1. Everything the user hands in, while Ctrl-C still simply ends the program.
  ASSIGN_OR_RETURN(const Input input, read_input(options));
  if (!options.teacher_path.empty()) {
    ASSIGN_OR_RETURN(auto teacher, read_token_ids(options.teacher_path));
    options.generation.teacher = std::move(teacher);
  }
  const bool chat = options.chat || (!input.text && !input.ids);
  if (chat && options.generation.teacher)
    return error(Code::kInvalidArgument, "--teacher-tokens does not chat; give it a prompt with --prompt or --file");
  if (chat && options.raw)
    return error(Code::kInvalidArgument, "--raw does not chat; give it a prompt with --prompt or --file");
  options.generation.as_ids = input.ids.has_value();
  options.generation.hash_logits = options.stats || options.json;
  options.generation.n_batch = options.load.n_batch;

  // 2. The model; what it says of its context counts more than the environment.
  if (!is_given("--context")) {
    ASSIGN_OR_RETURN(const auto n_ctx, read_context_environment([](const char* name) { return std::getenv(name); }));
    options.load.n_ctx = n_ctx.value_or(0);
  }
  ASSIGN_OR_RETURN(const NamedModel model, find_model(options));
  options.load.path = model.path;
  take_own_adapters(model, options.load.adapters);
  RETURN_IF_ERROR(take_projector(model, chat, options));
  if (model.extras) take_model_defaults(*model.extras, is_given, options);
  install_interrupt_handler();
  RETURN_IF_ERROR(choose_devices(options));
  if (chat) options.load.reserve_bytes = kChatCacheBytes;
  ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine, load(options.load));
  RETURN_IF_ERROR(check_model(engine->model(), input, chat));

  // 3. The answer, or many.
  if (!chat) return answer_once(std::move(engine), options, input);
  return run_chat(std::move(engine), options, input.text);
}

}  // namespace

void add_run_command(CLI::App& app, Action& action) {
  CLI::App* verb = app.add_subcommand("run", "Answer a prompt, or chat");
  const auto options = std::make_shared<RunOptions>();  // shared by CLI11's callbacks, which live as long as the app
  declare_run_options(*verb, *options);
  const IsGiven is_given = [verb](const std::string& option) { return verb->count(option) > 0; };
  verb->callback([&action, options, is_given] { action = [options, is_given] { return run(*options, is_given); }; });
}

}  // namespace spillway
