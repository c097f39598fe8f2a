// SPDX-License-Identifier: MIT
// spillway verify MODEL: proves on the user's own model that streaming changes nothing.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "base/json_writer.h"
#include "cli/adapter_options.h"
#include "cli/answer_printer.h"
#include "cli/cache_options.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/model_argument.h"
#include "cli/progress_bar.h"
#include "cli/run/run_options.h"
#include "engine/verify.h"

namespace spillway {
namespace {

constexpr const char* kExamples = R"(Examples:
  spillway verify model.gguf                 stream within what is free, compare with plain libllama
  spillway verify model.gguf --ram 4G        the same within 4 GiB
  spillway verify model.gguf --weights 25%   stream all but a quarter of the weights

Exit code 0: every output is bit for bit the same. 1: it is not; the first difference is named.)";

struct VerifyCommand {
  VerifyOptions options;
  std::string ram, weights;
  bool json = false;
};

// "25%" of the model's weights, or a size.
Result<uint64_t> weights_budget(const std::string& text, const std::string& path) {
  if (text.empty() || text.back() != '%') return parse_bytes(text);
  double percent = 0;
  try {
    size_t end = 0;
    percent = std::stod(text, &end);
    if (end + 1 != text.size()) percent = 0;
  } catch (const std::exception&) {
    percent = 0;
  }
  if (!(percent > 0 && percent <= 100))
    return error(Code::kInvalidArgument, fmt::format("'{}' is no share of the weights; write for example 25%", text));
  ASSIGN_OR_RETURN(const GgufModel model, open_gguf_model(path));
  return static_cast<uint64_t>(static_cast<double>(model.weight_bytes()) * percent / 100);
}

std::string as_json(const VerifyReport& report) {
  nlohmann::ordered_json json;
  json["exact"] = report.exact;
  json["outputs_compared"] = report.outputs_compared;
  if (report.exact)
    json["first_difference"] = nullptr;
  else
    json["first_difference"] = report.first_difference;
  json["kernels"] = kernels_name(report.kernels);
  json["reference"] = report.reference;
  json["bytes_streamed"] = report.bytes_streamed;
  json["pinned_bytes"] = report.memory.pinned_bytes;
  json["pool_bytes"] = report.memory.pool_bytes;
  json["budget_bytes"] = report.memory.budget_bytes;
  json["major_faults"] = report.major_faults;
  json["ungated"] = report.ungated;
  json["logits_hash"] = fmt::format("{:016x}", report.logits_hash);
  return write_json(json);
}

std::string as_text(const VerifyReport& report) {
  std::string text = report.exact
                         ? fmt::format("exact: {} outputs are bit for bit those of libllama alone ({}, {} kernels)",
                                       report.outputs_compared, report.reference, kernels_name(report.kernels))
                         : fmt::format("NOT EXACT: first difference at {}", report.first_difference);
  text += fmt::format("\n{} streamed with {} of weights held and {} for streaming; {} major faults; logits {:016x}",
                      format_bytes(report.bytes_streamed), format_bytes(report.memory.pinned_bytes),
                      format_bytes(report.memory.pool_bytes), report.major_faults, report.logits_hash);
  if (report.bytes_streamed == 0)
    text += "\nNothing streamed: the budget holds all of the weights, so this proves nothing. Use a smaller --ram.";
  return text;
}

Result<int> run_verify(VerifyCommand command) {
  ASSIGN_OR_RETURN(const NamedModel model, resolve_named_model(command.options.path));
  command.options.path = model.path;
  take_own_adapters(model, command.options.adapters);
  if (!command.ram.empty()) {
    ASSIGN_OR_RETURN(command.options.ram_bytes, parse_bytes(command.ram));
  }
  if (!command.weights.empty()) {
    ASSIGN_OR_RETURN(command.options.weights_bytes, weights_budget(command.weights, command.options.path));
  }
  install_interrupt_handler();
  ProgressBar progress("verifying");
  command.options.progress = [&](const std::string& stage, double fraction) {
    progress.show(fraction, stage);
    return !interrupted();
  };
  ASSIGN_OR_RETURN(const VerifyReport report, verify(command.options));
  progress.clear();
  ASSIGN_OR_RETURN(const bool written, print_line_to_stdout(command.json ? as_json(report) : as_text(report)));
  if (!written) return kExitPipeClosed;
  return report.exact ? kExitOk : kExitFailed;
}

}  // namespace

void add_verify_command(CLI::App& app, Action& action) {
  CLI::App* verb = app.add_subcommand("verify", "Prove that streaming this model gives the same numbers");
  const auto command = std::make_shared<VerifyCommand>();
  verb->add_option("MODEL", command->options.path, kModelHelp)->required();
  verb->add_option("--ram", command->ram, "Memory for the streamed run [what is free, less headroom]")
      ->type_name("SIZE");
  verb->add_option("--weights", command->weights, "Memory for weights alone, instead of --ram")->type_name("SIZE|N%");
  add_threads_option(*verb, command->options.n_threads, "Threads [the CPUs this process may use]");
  add_kernels_option(*verb, command->options.kernels);
  declare_cache_options(*verb, command->options.cache);
  declare_adapter_option(*verb, command->options.adapters);
  verb->add_option("--prompt-tokens", command->options.n_prompt, "Tokens of the prompt")
      ->check(CLI::Range(4, 65536))
      ->capture_default_str()
      ->type_name("N");
  verb->add_option("--decode-tokens", command->options.n_decode, "Steps after it")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str()
      ->type_name("N");
  verb->add_option("--extent-min", command->options.extent_bytes_min, "Smallest piece that streams, in bytes")
      ->group("");
  verb->add_flag("--json", command->json, "Print one JSON object");
  verb->footer(kExamples);
  verb->callback([&action, command] { action = [command] { return run_verify(*command); }; });
}

}  // namespace spillway
