// SPDX-License-Identifier: MIT
// spillway pull: fetches a model from Hugging Face or an Ollama registry.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "base/json_writer.h"
#include "cli/answer_printer.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/projector_options.h"
#include "cli/pull_bar.h"
#include "fetch/pull.h"

namespace spillway {
namespace {

constexpr const char* kPullExamples = R"(Examples:
  spillway pull llama3.2                                     from Ollama's registry
  spillway pull hf.co/bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M
  spillway pull hf.co/USER/REPO/folder/file.gguf             a certain file
  spillway pull hf.co/USER/REPO@refs/pr/1:Q8_0               of a branch, a tag or a commit
  spillway pull http://localhost:5000/me/it:v1 --insecure    from a registry of one's own

An interrupted pull is continued by the next one. 'spillway plan NAME' says beforehand how fast it would run here.
Environment: SPILLWAY_MODELS (where models go), HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE, SPILLWAY_REGISTRY, https_proxy.)";

struct PullCommand {
  std::string name;
  std::string projector;  // "none", or empty
  bool insecure = false, json = false;
};

std::string as_json(const PullProgress& one) {
  nlohmann::ordered_json json = {{"status", one.status}};
  if (!one.digest.empty()) {
    json["digest"] = one.digest;
    json["total"] = one.total_bytes;
    json["completed"] = one.completed_bytes;
  }
  return write_json(json);
}

Result<int> run_pull(const PullCommand& command) {
  install_interrupt_handler();
  PullBar bar;
  PullOptions options = user_pull_options();
  options.insecure = command.insecure;
  options.projectors = command.projector.empty();
  Result<bool> taken = true;  // whether standard output still takes lines
  options.cancelled = [&] { return interrupted() || !taken || !*taken; };
  options.progress = [&](const PullProgress& one) {
    if (!command.json) return bar.show(one);
    taken = print_line_to_stdout(as_json(one));
  };
  const auto outcome = pull(command.name, options);
  bar.clear();
  if (!taken) return Failure(taken.error());
  if (!*taken) return kExitPipeClosed;
  if (!outcome) return Failure(outcome.error());
  if (command.json) return kExitOk;
  ASSIGN_OR_RETURN(const ModelName name, parse_model_name(command.name));
  return print_and_end(fmt::format("{} is here", name.shown()));
}

}  // namespace

void add_pull_command(CLI::App& app, Action& action) {
  CLI::App* verb = app.add_subcommand("pull", "Download a model");
  const auto command = std::make_shared<PullCommand>();
  verb->add_option("SOURCE", command->name,
                   "llama3.3:70b, USER/MODEL:TAG, hf.co/USER/REPO:QUANT, hf.co/USER/REPO/FILE.gguf")
      ->required()
      ->type_name("");
  verb->add_flag("--insecure", command->insecure, "Allow http:// in front of the name");
  verb->add_option("--mmproj", command->projector, "Leave the projector out that a model sees images with")
      ->type_name("none")
      ->check(CLI::IsMember({kNoProjector}));
  verb->add_flag("--json", command->json, "Print the progress as one JSON object per line");
  verb->footer(kPullExamples);
  verb->callback([&action, command] { action = [command] { return run_pull(*command); }; });
}

}  // namespace spillway
