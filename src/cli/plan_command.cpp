// SPDX-License-Identifier: MIT
// spillway plan MODEL (or estimate): what a run would do and reach, on this machine or another, from metadata alone.
// spillway inspect MODEL: only the model.
#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "base/bytes.h"
#include "base/notice.h"
#include "cli/answer_printer.h"
#include "cli/commands.h"
#include "cli/current_profile.h"
#include "cli/model_argument.h"
#include "cli/plan_report.h"
#include "cli/run_options.h"
#include "engine/auto_plan.h"
#include "engine/compute_probe.h"
#include "engine/correction_store.h"
#include "engine/load_budget.h"
#include "engine/quick_probe.h"
#include "hw/profile_json.h"
#include "hw/shipped_profiles.h"
#include "os/machine.h"
#include "plan/model_facts.h"

namespace spillway {
namespace {

constexpr const char* kExamples = R"(Examples:
  spillway plan model.gguf                                    what spillway run would do here, and how fast
  spillway plan big-moe.gguf --ram 8G --context 32768         with a budget and a long context
  spillway plan big-moe.gguf --profile m1-max-32gb            on a machine that one does not have
  spillway plan --profile list                                the machines that are shipped
  spillway plan big-moe.gguf --profile my-machine.json --json (spillway profile --json > my-machine.json)
  spillway plan big-moe.gguf --tensors                        every tensor, where it lives and why

Reads the model's metadata only. 'spillway profile' measures this machine once; without that, plan measures the processor
and the model's disk for half a second and says so.)";

constexpr const char* kInspectExamples = R"(Examples:
  spillway inspect model.gguf
  spillway inspect model.gguf --tensors --json)";

struct PlanCommand {
  std::string path, profile, gpu_memory, cache_type = "f16", mode = "auto";
  uint64_t ram_bytes = 0, n_ctx = 0;
  uint32_t n_seq = 1, n_ubatch = 0;
  uint64_t n_prompt = 512, n_answer = 256;
  bool json = false, tensors = false;
};

Result<int> print(std::string text) {
  while (text.ends_with('\n')) text.pop_back();
  ASSIGN_OR_RETURN(const bool written, print_line_to_stdout(text));
  return written ? kExitOk : kExitPipeClosed;
}

Result<int> list_profiles(bool json) {
  std::string text;
  for (const std::string& name : shipped_profile_names()) {
    ASSIGN_OR_RETURN(const MachineProfile profile, shipped_profile(name));
    if (json)
      text += fmt::format("{}\"{}\"", text.empty() ? "[" : ",", name);
    else
      text +=
          fmt::format("{:<19} {}, {}; {}\n", name, profile.cpu, format_bytes(profile.ram_bytes_total), profile.source);
  }
  return print(json ? text + "]" : text);
}

// Without a kept profile: what can be measured at once, as a load does too. Devices are named and left out.
MachineProfile measure_quickly(const GgufModel& model, const ComputeProbe& probe) {
  QuickFigures figures{.compute = measure_compute(probe)};
  if (const auto disk = probe_model_disk(model)) {
    figures.disk_bytes_per_s = disk->disk_bytes_per_s;
    figures.read_bytes = disk->read_bytes;
    figures.depth = disk->depth;
  }
  MachineProfile machine = machine_of(std::nullopt, 0, figures, model);
  for (const std::string& name : device_names()) machine.devices.emplace_back().name = name;
  return machine;
}

Result<MachineProfile> profile_of(const PlanCommand& command, const GgufModel& model, const PlanRequest& request) {
  if (command.profile.empty()) {
    ComputeProbe probe = compute_probe_of(model, usable_cpus(), memory_state().available_bytes);
    probe.repacked = request.mode.value_or(Mode::kResident) == Mode::kResident &&
                     has_room_to_repack(model.weight_bytes(), request.ram_bytes);
    const auto kept = kept_profile_for(command.path);
    if (!kept) return measure_quickly(model, probe);
    // A profile is of weights as files have them.
    return probe.repacked ? machine_of(*kept, 0, {.compute = measure_compute(probe)}, model) : *kept;
  }
  if (std::filesystem::exists(command.profile)) return read_profile(command.profile);
  return shipped_profile(command.profile);
}

Result<PlanRequest> request_of(const PlanCommand& command, const GgufModel& model) {
  PlanRequest request;
  request.model = &model;
  // Here as a load takes it; a machine that one does not have has no cgroup.
  request.ram_bytes = command.profile.empty() ? budget_bytes_for(command.ram_bytes) : command.ram_bytes;
  if (!command.gpu_memory.empty()) {
    if (command.gpu_memory == "0") {
      request.gpu_memory_bytes = 0;
    } else {
      ASSIGN_OR_RETURN(request.gpu_memory_bytes, parse_bytes(command.gpu_memory));
    }
  }
  const uint64_t n_ctx = command.n_ctx > 0 ? command.n_ctx : default_context(model);
  request.n_seq = command.n_seq;
  request.n_ctx = n_ctx * command.n_seq;
  request.n_ubatch = command.n_ubatch;
  request.cache_type_k = request.cache_type_v = command.cache_type;
  request.n_prompt = std::min<uint64_t>(command.n_prompt, n_ctx);
  request.n_answer = command.n_answer;
  for (const Mode mode : {Mode::kResident, Mode::kStream, Mode::kMmap})
    if (command.mode == mode_name(mode)) request.mode = mode;
  return request;
}

Result<int> run_plan(PlanCommand command) {
  if (command.profile == "list") return list_profiles(command.json);
  ASSIGN_OR_RETURN(command.path, resolve_model(command.path));
  ASSIGN_OR_RETURN(const GgufModel model, open_gguf_model(command.path));
  ASSIGN_OR_RETURN(PlanRequest request, request_of(command, model));
  ASSIGN_OR_RETURN(MachineProfile machine, profile_of(command, model, request));
  request.machine = &machine;
  // A profile from elsewhere: what runs here measured says nothing about it.
  std::vector<Correction> corrections;
  if (command.profile.empty()) corrections = load_corrections();
  request.corrections = &corrections;
  if (model.n_ctx_train > 0 && request.n_ctx > model.n_ctx_train * request.n_seq)
    machine.doubts.push_back(fmt::format("the model was trained for contexts of {} tokens", model.n_ctx_train));
  auto plan = make_plan(request);
  if (!plan) return tl::unexpected<Status>(plan.error().with_context(command.path));
  const PlanReport report{&model, &machine, &request, &*plan, command.tensors};
  return print(command.json ? plan_json(report) : plan_table(report));
}

Result<int> run_inspect(const PlanCommand& command) {
  ASSIGN_OR_RETURN(const std::string path, resolve_model(command.path));
  ASSIGN_OR_RETURN(const GgufModel model, open_gguf_model(path));
  return print(command.json ? model_json(model, command.tensors) : model_table(model, command.tensors));
}

}  // namespace

void add_plan_command(CLI::App& app, Action& action) {
  CLI::App* verb = app.add_subcommand("plan", "Say what a run would do and how fast, here or on another machine");
  verb->alias("estimate");
  const auto command = std::make_shared<PlanCommand>();
  verb->add_option("MODEL", command->path, kModelHelp);
  verb->add_option("--profile", command->profile,
                   "Machine: a file of spillway profile --json, a name, or 'list' [this]")
      ->type_name("FILE|NAME");
  add_size_option(*verb, "--ram", command->ram_bytes, "Memory for the whole process [what is free, less headroom]");
  verb->add_option("--gpu-memory", command->gpu_memory, "Memory of each device [what it has]; 0 uses none")
      ->check(size_or_zero())
      ->type_name("SIZE");
  verb->add_option("-c,--context", command->n_ctx, "Tokens of context of each sequence [the model's, at most 4096]")
      ->check(CLI::Range(uint64_t{1}, uint64_t{1} << 28))
      ->type_name("N");
  verb->add_option("--parallel", command->n_seq, "Sequences at once")
      ->check(CLI::Range(1u, 256u))
      ->capture_default_str()
      ->type_name("N");
  verb->add_option("--ubatch", command->n_ubatch, "Tokens of one pass over a prompt [chosen]")
      ->check(CLI::Range(1u, 65536u))
      ->type_name("N");
  verb->add_option("--cache-type", command->cache_type, "Number format of the KV cache")
      ->capture_default_str()
      ->type_name("f32|f16|bf16|q8_0|q5_0|q5_1|q4_0|q4_1|iq4_nl");
  verb->add_option("--prompt-tokens", command->n_prompt, "Length of the prompt that is weighed")
      ->check(CLI::Range(uint64_t{1}, uint64_t{1} << 28))
      ->capture_default_str()
      ->type_name("N");
  verb->add_option("--answer-tokens", command->n_answer, "Length of the answer that is weighed")
      ->check(CLI::Range(uint64_t{1}, uint64_t{1} << 28))
      ->capture_default_str()
      ->type_name("N");
  verb->add_option("--mode", command->mode, "Plan this mode, not the fastest")
      ->check(CLI::IsMember({"auto", "resident", "stream", "mmap"}))
      ->capture_default_str()
      ->type_name("auto|resident|stream|mmap");
  verb->add_flag("--tensors", command->tensors, "Every tensor: where it lives and why");
  verb->add_flag("--json", command->json, "Print one JSON object");
  verb->footer(kExamples);
  verb->callback([&action, command] {
    if (command->path.empty() && command->profile != "list") throw CLI::RequiredError("MODEL");
    action = [command] { return run_plan(*command); };
  });
}

void add_inspect_command(CLI::App& app, Action& action) {
  CLI::App* verb = app.add_subcommand("inspect", "Say what a model consists of");
  const auto command = std::make_shared<PlanCommand>();
  verb->add_option("MODEL", command->path, kModelHelp)->required();
  verb->add_flag("--tensors", command->tensors, "Every tensor");
  verb->add_flag("--json", command->json, "Print one JSON object");
  verb->footer(kInspectExamples);
  verb->callback([&action, command] { action = [command] { return run_inspect(*command); }; });
}

}  // namespace spillway
