// SPDX-License-Identifier: MIT
// What `spillway run` is told on the command line.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "chat/message.h"
#include "cli/run/generator.h"
#include "engine/engine.h"

namespace spillway {

// Thoughts before an answer, as far as somebody said something about them.
struct ThinkingChoice {
  std::optional<bool> think{};
  std::string effort{};  // "low", "medium", "high"
};

struct RunOptions {
  LoadOptions load;
  GenerationOptions generation;
  std::optional<std::string> prompt, prompt_path;  // at most one of these two and token_ids
  std::string token_ids, teacher_path;             // empty: not given
  std::string system;
  std::vector<Message> examples;  // a stored model's messages, and
  std::string chat_template;      // template; empty: the file's own
  std::vector<std::string> image_paths;
  std::string projector;  // a file, "none", or empty: the one beside the model
  bool raw = false;       // no chat template
  bool chat = false;      // also when standard input is no terminal
  ThinkingChoice thinking;
  bool hide_thinking = false;
  bool stats = false, json = false;
  bool pull = false;  // a model that is not here is fetched without asking

  // GPUs. The planner chooses unless a number of layers is given.
  std::optional<uint32_t> n_gpu_layers;
  std::vector<std::string> device_names, workers;
  std::string gpu_memory;  // a size, "0" for none; empty: not given
};

// Declares the options on `app`, which writes them into `options` while it parses. Both must outlive the parsing.
void declare_run_options(CLI::App& app, RunOptions& options);

// Those of them that say which GPUs and workers take part, for other verbs too.
void declare_device_options(CLI::App& app, RunOptions& options, const std::string& group);

// A size, or 0.
CLI::Validator size_or_zero();

// --kernels, for options of any verb.
CLI::Option* add_kernels_option(CLI::App& app, Kernels& kernels);

// --threads, 1 to kThreadsMax, for options of any verb.
CLI::Option* add_threads_option(CLI::App& app, unsigned& n_threads, const std::string& description);

// Refuses a value that is empty or blank: behind `--host "$UNSET"` something else was meant than without the option.
CLI::Validator not_blank();

// A size like "4GiB", for options of any verb. The second takes 0, too.
CLI::Option* add_size_option(CLI::App& app, const std::string& name, uint64_t& bytes, const std::string& description);
CLI::Option* add_size_or_zero_option(CLI::App& app, const std::string& name, uint64_t& bytes,
                                     const std::string& description);

}  // namespace spillway
