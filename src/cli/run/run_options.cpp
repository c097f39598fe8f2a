// SPDX-License-Identifier: MIT
#include "cli/run/run_options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/bytes.h"
#include "cli/adapter_options.h"
#include "cli/cache_options.h"
#include "cli/model_argument.h"
#include "cli/projector_options.h"
#include "os/thread_limit.h"

namespace spillway {
namespace {

constexpr const char* kRunExamples = R"(Examples:
  spillway run model.gguf                                        chat; /help lists what can be typed
  spillway run model.gguf "Why is the sky blue?" --ram 8G        one answer; --prompt says the same
  spillway run hf.co/USER/REPO:Q4_K_M                            offers to download what is not here, with its speed
  spillway run model.gguf --image photo.jpg --prompt "What is this?"    with a projector (mmproj) beside the model
  git diff | spillway run model.gguf --system "Review this change." --max-tokens -1
  spillway run base.gguf --raw --prompt "Once upon a time" --temp 0
  spillway run model.gguf --prompt "Hi" --stats                  what it read, waited and reached, on stderr
  spillway run model.gguf --token-ids 1,15043,29892 --json --stats)";

constexpr const char* kInput = "Input";
constexpr const char* kMemory = "Memory and machine";
constexpr const char* kSampling = "Generation";
constexpr const char* kOutput = "Output";
constexpr const char* kHidden = "";

// CLI11's own validators put the limits of the type into help and messages.
CLI::Validator number_check(bool (*accepts)(double), const std::string& what) {
  const auto check = [accepts, what](std::string& text) {
    double number = 0;
    return CLI::detail::lexical_cast(text, number) && accepts(number) ? "" : "'" + text + "' is not " + what;
  };
  return {check, ""};
}
CLI::Validator at_least_zero() {
  return number_check([](double x) { return x >= 0; }, "a number that is at least 0");
}
CLI::Validator at_least_one() {
  return number_check([](double x) { return x >= 1; }, "a number that is at least 1");
}
CLI::Validator above_zero() {
  return number_check([](double x) { return x > 0; }, "a number above 0");
}
CLI::Validator fraction() {
  return number_check([](double x) { return x >= 0 && x <= 1; }, "a number from 0 to 1");
}

void declare_input(CLI::App& app, RunOptions& o) {
  // As `ollama run MODEL why is the sky blue?` joins them.
  const auto set_words = [&o](const std::vector<std::string>& words) {
    o.prompt = fmt::format("{}", fmt::join(words, " "));
  };
  auto* words = app.add_option_function<std::vector<std::string>>("PROMPT", set_words, "The same as --prompt")
                    ->type_name("")
                    ->take_all();
  auto* prompt =
      app.add_option("-p,--prompt", o.prompt, "Answer this and stop; a pipe's text goes in front")->type_name("TEXT");
  auto* file =
      app.add_option("-f,--file", o.prompt_path, "Answer what this file holds; - is standard input")->type_name("FILE");
  auto* ids = app.add_option("--token-ids", o.token_ids, "Token ids as the prompt, and as the output: 1,2,3 or a file")
                  ->type_name("LIST|FILE");
  auto* system = app.add_option("--system", o.system, "System message")->type_name("TEXT");
  auto* image =
      app.add_option(
             "--image", o.image_paths,
             "Image in front of the prompt or a chat's first message (PNG, JPEG, GIF, BMP, WebP); may be repeated")
          ->type_name("FILE")
          ->take_all()
          ->allow_extra_args(false);
  auto* raw = app.add_flag("--raw", o.raw, "Take the prompt as it is, without the model's chat template");
  auto* chat =
      app.add_flag("--chat", o.chat, "Chat even if standard input is no terminal; --prompt is the first message");
  prompt->excludes(words);
  file->excludes(prompt)->excludes(words);
  ids->excludes(prompt)->excludes(words)->excludes(file)->excludes(system)->excludes(image);
  raw->excludes(system);
  chat->excludes(raw)->excludes(file)->excludes(ids);
  for (CLI::Option* option : {prompt, file, image, ids, system, raw, chat}) option->group(kInput);
}

void declare_memory(CLI::App& app, RunOptions& o) {
  add_size_option(app, "--ram", o.load.ram_bytes, "Memory for the whole process [what is free, less headroom]")
      ->group(kMemory);
  const auto set_mode = [&o](const std::string& name) {
    o.load.mode.reset();
    if (name == "auto") return;
    for (const Mode mode : {Mode::kResident, Mode::kStream, Mode::kMmap})
      if (name == mode_name(mode)) o.load.mode = mode;
    if (!o.load.mode) throw CLI::ValidationError("--mode", "'" + name + "' is none of auto, resident, stream, mmap");
  };
  app.add_option_function<std::string>("--mode", set_mode, "Where weights live [auto]")
      ->type_name("auto|resident|stream|mmap")
      ->group(kMemory);
  add_kernels_option(app, o.load.kernels)->group(kMemory);
  app.add_option("-c,--context", o.load.n_ctx,
                 "Tokens of context [$OLLAMA_CONTEXT_LENGTH, or what the model was trained for, where it fits]")
      ->type_name("N")
      ->check(at_least_one())
      ->group(kMemory);
  app.add_flag("--swa-full", o.load.swa_full, "Layers with a sliding window keep all of the context")->group(kMemory);
  declare_cache_options(app, o.load.cache, kMemory);
  declare_adapter_option(app, o.load.adapters, kMemory);
  declare_projector_option(app, o.projector, kMemory);
  add_threads_option(app, o.load.n_threads, "Threads for arithmetic [the CPUs this process may use]")->group(kMemory);
  declare_device_options(app, o, kMemory);
  app.add_option("--batch", o.load.n_batch, "Prompt tokens computed between two looks at Ctrl-C")
      ->type_name("N")
      ->check(at_least_one())
      ->capture_default_str()
      ->group(kMemory);
  app.add_option("--ubatch", o.load.n_ubatch, "Tokens that share one reading of the weights [chosen]")
      ->type_name("N")
      ->check(at_least_one())
      ->group(kMemory);
}

void declare_sampling(CLI::App& app, RunOptions& o) {
  GenerationOptions& g = o.generation;
  SamplingOptions& s = g.sampling;
  std::vector<CLI::Option*> options = {
      app.add_option("-n,--max-tokens", g.max_tokens, "Length of an answer; -1: until the context is full")
          ->type_name("N"),
      app.add_option("--temp", s.temp, "Temperature; 0: always the likeliest token")
          ->type_name("X")
          ->check(at_least_zero()),
      app.add_option("--top-k", s.top_k, "Choose among the K likeliest; 0: all")
          ->type_name("K")
          ->check(at_least_zero()),
      app.add_option("--top-p", s.top_p, "Choose among the likeliest that sum up to P")
          ->type_name("P")
          ->check(fraction()),
      app.add_option("--min-p", s.min_p, "Leave out what is less likely than P times the likeliest")
          ->type_name("P")
          ->check(fraction()),
      app.add_option("--repeat-penalty", s.repeat_penalty, "Penalty for the last 64 tokens; 1: none")
          ->type_name("X")
          ->check(above_zero())};
  for (CLI::Option* option : options) option->capture_default_str();
  options.push_back(
      app.add_option("-s,--seed", s.seed, "Same seed, same answer [a new one each time]")->type_name("N"));
  options.push_back(app.add_option("--stop", g.stop, "End the answer before this text; may be repeated")
                        ->type_name("TEXT")
                        ->take_all()
                        ->allow_extra_args(false));
  CLI::Option* const think = app.add_flag_callback(
      "--think", [&o] { o.thinking.think = true; }, "Let the model think before it answers");
  options.push_back(think);
  options.push_back(app.add_flag_callback(
                           "--no-think", [&o] { o.thinking.think = false; }, "Ask the model not to think first")
                        ->excludes(think));
  options.push_back(app.add_option("--effort", o.thinking.effort, "How much it thinks, where a model knows degrees")
                        ->type_name("low|medium|high")
                        ->check(CLI::IsMember({"low", "medium", "high"})));
  options.push_back(app.add_flag("--hide-thinking", o.hide_thinking, "Leave thoughts out of what is shown"));
  options.push_back(app.add_flag("--ignore-eos", g.ignore_eos, "Go on when the model ends its answer"));
  options.push_back(
      app.add_option("--teacher-tokens", o.teacher_path, "Feed the token ids of this file instead of choosing")
          ->type_name("FILE"));
  for (CLI::Option* option : options) option->group(kSampling);
}

void declare_output(CLI::App& app, RunOptions& o) {
  app.add_flag("--stats", o.stats, "Report speed, reads, memory and limits, on stderr")->group(kOutput);
  app.add_flag("--json", o.json, "Print one JSON object per answer instead of its text")->group(kOutput);
}

// For benchmarks and tests.
void declare_hidden(CLI::App& app, RunOptions& o) {
  app.add_option("--warmup", o.generation.warmup_tokens, "Generated tokens that the figures leave out")
      ->type_name("N")
      ->group(kHidden);
  add_size_option(app, "--weights-ram", o.load.weights_bytes, "Memory for weights alone")->group(kHidden);
  add_size_option(app, "--extent-min", o.load.extent_bytes_min, "Smaller tensors are not streamed")->group(kHidden);
  app.add_flag("!--no-heat", o.load.keep_heat, "Neither load nor save the heat profile")->group(kHidden);
}

}  // namespace

CLI::Validator size_or_zero() {
  const auto check = [](std::string& text) {
    const auto parsed = parse_bytes(text);
    return text == "0" || parsed ? std::string() : parsed.error().message();
  };
  return {check, ""};
}

void declare_device_options(CLI::App& app, RunOptions& o, const std::string& group) {
  app.add_option("-g,--gpu-layers", o.n_gpu_layers, "Layers on GPUs, from the last; 0: none [chosen by the plan]")
      ->type_name("N")
      ->group(group);
  app.add_option("--gpu-memory", o.gpu_memory, "Memory that the plan may use of each GPU; 0: none [what is free]")
      ->check(size_or_zero())
      ->type_name("SIZE")
      ->group(group);
  app.add_option("--device", o.device_names, "GPU to use, by ggml's name; may be repeated [all]")
      ->type_name("NAME")
      ->take_all()
      ->allow_extra_args(false)
      ->group(group);
  app.add_option("--worker", o.workers, "ggml-rpc-server that computes too; may be repeated")
      ->type_name("HOST:PORT")
      ->take_all()
      ->allow_extra_args(false)
      ->group(group);
  app.add_option("--worker-timeout", o.load.devices.worker_answer_s,
                 "Seconds that a worker may be silent before it counts as lost")
      ->type_name("S")
      ->check(above_zero())
      ->capture_default_str()
      ->group(group);
}

void declare_run_options(CLI::App& app, RunOptions& options) {
  app.option_defaults()->take_last();  // an alias's options can be overruled
  app.add_option("MODEL", options.load.path, kAnyModelHelp)->required()->type_name("");
  app.add_flag("--pull", options.pull, "Download a model that is not here without asking");
  declare_input(app, options);
  declare_memory(app, options);
  declare_sampling(app, options);
  declare_output(app, options);
  declare_hidden(app, options);
  app.footer(kRunExamples);
}

CLI::Option* add_kernels_option(CLI::App& app, Kernels& kernels) {
  const auto set = [&kernels](const std::string& name) {
    const auto known = kernels_by_name(name);
    if (!known) throw CLI::ValidationError("--kernels", "'" + name + "' is none of auto, plain, repacked");
    kernels = *known;
  };
  return app
      .add_option_function<std::string>("--kernels", set,
                                        "Arithmetic: of llama.cpp's defaults, or --no-repack's [auto]")
      ->type_name("auto|plain|repacked");
}

CLI::Option* add_threads_option(CLI::App& app, unsigned& n_threads, const std::string& description) {
  const auto within = [](double x) { return x >= 1 && x <= kThreadsMax; };
  return app.add_option("-t,--threads", n_threads, description)
      ->type_name("N")
      ->check(number_check(within, fmt::format("a number from 1 to {}", kThreadsMax)));
}

CLI::Validator not_blank() {
  const auto check = [](std::string& text) {
    return text.find_first_not_of(" \t\r\n") == std::string::npos ? "is empty: give it a value, or leave it out" : "";
  };
  return {check, ""};
}

CLI::Option* add_size_option(CLI::App& app, const std::string& name, uint64_t& bytes, const std::string& description) {
  const auto set = [name, &bytes](const std::string& text) {
    const auto parsed = parse_bytes(text);
    if (!parsed) throw CLI::ValidationError(name, parsed.error().message());
    bytes = *parsed;
  };
  return app.add_option_function<std::string>(name, set, description)->type_name("SIZE");
}

CLI::Option* add_size_or_zero_option(CLI::App& app, const std::string& name, uint64_t& bytes,
                                     const std::string& description) {
  const auto set = [&bytes](const std::string& text) { bytes = text == "0" ? 0 : *parse_bytes(text); };
  return app.add_option_function<std::string>(name, set, description)->check(size_or_zero())->type_name("SIZE");
}

}  // namespace spillway
