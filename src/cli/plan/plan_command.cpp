// SPDX-License-Identifier: MIT
// spillway plan MODEL (or estimate): what a run would do and reach, on this machine or another, from metadata alone,
// also of a model that is not here yet, or of all models in a repository. spillway inspect MODEL: only the model.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <optional>

#include "base/bytes.h"
#include "base/notice.h"
#include "cli/adapter_options.h"
#include "cli/answer_printer.h"
#include "cli/cache_options.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/model_argument.h"
#include "cli/model_defaults.h"
#include "cli/plan/plan_machine.h"
#include "cli/plan/plan_report.h"
#include "cli/progress_bar.h"
#include "cli/projector_options.h"
#include "cli/repository_report.h"
#include "cli/run/run_options.h"
#include "cli/serve_environment.h"
#include "engine/correction_store.h"
#include "engine/load_budget.h"
#include "fetch/remote_model.h"
#include "hw/shipped_profiles.h"
#include "model/hub_name.h"
#include "model/model_store.h"
#include "plan/context_choice.h"
#include "plan/model_facts.h"

namespace spillway {
namespace {

constexpr const char* kPlanExamples = R"(Examples:
  spillway plan model.gguf                                    what spillway run would do here, and how fast
  spillway plan hf.co/USER/REPO:Q4_K_M                        the same before it is downloaded
  spillway plan hf.co/USER/REPO --speed 8                     all of its models; marks the best that decodes at 8 tok/s
  spillway plan big-moe.gguf --ram 8G --context 32768         with a budget and a long context
  spillway plan big-moe.gguf --profile m1-max-32gb            on a machine that one does not have
  spillway plan --profile list                                the machines that are shipped
  spillway plan big-moe.gguf --profile my-machine.json --json (spillway profile --json > my-machine.json)
  spillway plan big-moe.gguf --tensors                        every tensor, where it lives and why

Reads the model's metadata only; of a model that is not here, a few MB of it from its server. 'spillway profile' measures
this machine once; without that, plan measures the processor and the model's disk for half a second and says so.)";

constexpr const char* kInspectExamples = R"(Examples:
  spillway inspect model.gguf
  spillway inspect hf.co/USER/REPO:Q8_0                       before it is downloaded
  spillway inspect model.gguf --tensors --json)";

struct PlanCommand {
  std::string path, profile, gpu_memory, mode = "auto";
  CacheFormat cache;
  uint64_t ram_bytes = 0, n_ctx = 0;
  uint32_t n_seq = 1, n_ubatch = 0;
  bool swa_full = false;
  std::vector<LoraAdapter> adapters;
  std::string projector;  // see projector_path()
  Kernels kernels = Kernels::kAuto;
  uint64_t n_prompt = 512, n_answer = 256;
  bool names_prompt = false;
  double asked_tok_per_s = 5;  // about as fast as one reads
  bool json = false, tensors = false;
};

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
  return print_and_end(json ? text + "]" : text);
}

Result<PlanRequest> request_of(const PlanCommand& command, const PlanMachine& machines, const GgufModel& model) {
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
  request.may_use_page_cache = command.ram_bytes == 0 || request.ram_bytes < command.ram_bytes;
  request.n_seq = command.n_seq;
  request.shared_context = false;
  request.swa_full = command.swa_full;
  request.n_ubatch = command.n_ubatch;
  request.cache = command.cache;
  request.n_prompt = command.n_prompt;
  request.n_answer = command.n_answer;
  request.n_prompt_long = command.names_prompt ? command.n_prompt : kLongPromptTokens;
  for (const Mode mode : {Mode::kResident, Mode::kStream, Mode::kMmap})
    if (command.mode == mode_name(mode)) request.mode = mode;
  LoadOptions load;
  load.mode = request.mode;
  load.ram_bytes = command.ram_bytes;
  load.kernels = command.kernels;
  ASSIGN_OR_RETURN(request.kernels, machines.kernels_for_load(model, load));
  return request;
}

// As a load plans it. The request's figures become those of the plan, or of the context that was refused.
// `own_n_ctx`: that a stored model names, which counts less than the command line and more than the environment.
Result<Plan> plan_of(const PlanCommand& command, std::optional<uint64_t> own_n_ctx, PlanRequest& request) {
  uint64_t n_ctx = command.n_ctx > 0 ? command.n_ctx : own_n_ctx.value_or(0);
  if (n_ctx == 0) {
    ASSIGN_OR_RETURN(const auto said, read_context_environment([](const char* name) { return std::getenv(name); }));
    n_ctx = said.value_or(0);
  }
  auto choice = plan_with_context(request, n_ctx);
  if (!choice) {
    request.n_ctx = (n_ctx > 0 ? n_ctx : least_context(*request.model)) * request.n_seq;
    return Failure(choice.error());
  }
  request.n_ctx = choice->plan.n_ctx;
  request.n_prompt = std::min(request.n_prompt, choice->n_ctx);
  return std::move(choice->plan);
}

// A model that is here, or whose metadata a server has.
struct Subject {
  std::string place;  // its file, or the folder that it would come to
  GgufModel model;
  std::optional<RemoteFacts> remote;
  std::vector<LoraAdapter> adapters;   // that belong to it
  std::optional<uint64_t> n_ctx = {};  // that it names itself
  uint64_t projector_bytes = 0;        // of the one that it would be loaded with
  std::string doubt = {};              // of that one
};

RemoteFacts facts_of(const ModelName& name, const std::string& file, uint64_t size_bytes, uint64_t download_bytes) {
  return {.name = name.shown(), .file = file, .size_bytes = size_bytes, .download_bytes = download_bytes};
}

Result<Subject> subject_of(const std::string& argument, const std::string& projector) {
  const auto named = resolve_named_model(argument);
  if (named) {
    ASSIGN_OR_RETURN(GgufModel model, open_gguf_model(named->path));
    Subject subject{.place = named->path, .model = std::move(model), .remote = {}, .adapters = {}};
    take_own_adapters(*named, subject.adapters);
    if (named->extras) subject.n_ctx = stored_context(*named->extras);
    const auto bytes = projector_bytes(projector_path(projector, *named));
    if (!bytes && !projector.empty()) return Failure(bytes.error());
    // One that nobody named is left out where it can not be used, as a server does.
    if (!bytes) subject.doubt = fmt::format("images are left out: {}", bytes.error().message());
    subject.projector_bytes = bytes.value_or(0);
    return subject;
  }
  const auto name = remote_name(argument);
  if (!name || named.error().code() != Code::kNotFound) return Failure(named.error());
  ASSIGN_OR_RETURN(RemoteModel remote, find_remote(argument, *name));
  Subject subject{.place = weights_folder(CatalogOptions::from_environment().own_folder),
                  .model = std::move(remote.model),
                  .remote = facts_of(*name, remote.file, remote.size_bytes, remote.download_bytes),
                  .adapters = {}};
  subject.remote->projector_file = remote.projector_file;
  if (projector.empty()) {
    subject.projector_bytes = remote.projector ? remote.projector->need_bytes() : 0;
  } else if (projector != kNoProjector) {
    ASSIGN_OR_RETURN(subject.projector_bytes, projector_bytes(projector));
  }
  return subject;
}

// What is too large by a little may fit with a smaller cache.
Status with_offer(const PlanRequest& request, const Status& status) {
  if (status.code() != Code::kOutOfBudget) return status;
  const auto offer = cache_offer(request, nullptr);
  if (!offer) return status;
  return status.with_message(fmt::format("{}; with {} it fits, {} saved", status.message(),
                                         cache_options_text(offer->format), format_bytes(offer->saved_bytes)));
}

Result<int> plan_one(const PlanCommand& command) {
  ASSIGN_OR_RETURN(const Subject subject, subject_of(command.path, command.projector));
  const GgufModel& model = subject.model;
  ASSIGN_OR_RETURN(PlanMachine machines, PlanMachine::open(command.profile, subject.place));
  ASSIGN_OR_RETURN(PlanRequest request, request_of(command, machines, model));
  ASSIGN_OR_RETURN(request.adapter_bytes,
                   adapter_bytes(command.adapters.empty() ? subject.adapters : command.adapters, model));
  request.projector_bytes = subject.projector_bytes;
  MachineProfile machine = machines.for_model(model, request);
  request.machine = &machine;
  // A profile from elsewhere: what runs here measured says nothing about it.
  std::vector<Correction> corrections;
  if (command.profile.empty()) corrections = load_corrections();
  request.corrections = &corrections;
  if (!subject.doubt.empty()) machine.doubts.push_back(subject.doubt);
  if (model.n_ctx_train > 0 && command.n_ctx > model.n_ctx_train)
    machine.doubts.push_back(fmt::format("the model was trained for contexts of {} tokens", model.n_ctx_train));
  auto plan = plan_of(command, subject.n_ctx, request);
  if (!plan) return Failure(with_offer(request, plan.error()).with_context(command.path));
  const auto offer = cache_offer(request, &*plan);
  const PlanReport report{.model = &model,
                          .machine = &machine,
                          .request = &request,
                          .plan = &*plan,
                          .remote = subject.remote ? &*subject.remote : nullptr,
                          .offer = offer ? &*offer : nullptr,
                          .all_tensors = command.tensors};
  return print_and_end(command.json ? plan_json(report) : plan_table(report));
}

// The repository, when no file of it is named.
std::optional<ModelName> whole_repository(const std::string& argument) {
  auto name = remote_name(argument);
  if (!name || !name->is_hugging_face() || argument.find(":latest") != std::string::npos) return std::nullopt;
  return hub_reference(name->tag).wanted == HubReference().wanted ? name : std::nullopt;
}

Result<std::vector<RemoteChoice>> inspect_all(const ModelName& name) {
  ProgressBar progress("reading headers");
  PullOptions options = user_pull_options();
  options.attempts = 3;
  return inspect_repository(name, options, [&](size_t done, size_t total) {
    progress.show(static_cast<double>(done) / static_cast<double>(total), fmt::format("{} of {}", done, total));
  });
}

// Rates that only one of them knows are shown beside the others.
void add_rates(MachineProfile& machine, const MachineProfile& more) {
  for (const MatmulRate& rate : more.matmul)
    if (std::none_of(machine.matmul.begin(), machine.matmul.end(),
                     [&](const MatmulRate& one) { return one.type == rate.type; }))
      machine.matmul.push_back(rate);
}

Result<int> plan_repository(const PlanCommand& command, const ModelName& name, std::vector<RemoteChoice> models) {
  if (command.tensors)
    return error(Code::kInvalidArgument, "--tensors wants one model: name a quantization of the repository");
  if (!command.adapters.empty())
    return error(Code::kInvalidArgument, "--lora wants one model: name a quantization of the repository");
  if (!command.projector.empty())
    return error(Code::kInvalidArgument, "--mmproj wants one model: name a quantization of the repository");
  ASSIGN_OR_RETURN(PlanMachine machines,
                   PlanMachine::open(command.profile, weights_folder(CatalogOptions::from_environment().own_folder)));
  std::vector<Correction> corrections;
  if (command.profile.empty()) corrections = load_corrections();
  const HubReference reference = hub_reference(name.tag);
  RepositoryReport report{.repository = fmt::format("hf.co/{}/{}", name.name_space, name.model),
                          .types = {},
                          .n_seq = command.n_seq,
                          .n_prompt = command.n_prompt,
                          .asked_tok_per_s = command.asked_tok_per_s,
                          .choices = {}};
  if (reference.revision != HubReference().revision) report.repository += "@" + reference.revision;
  std::optional<MachineProfile> shown;
  for (RemoteChoice& one : models) {
    PlannedChoice choice{.remote = facts_of(one.name, one.file, one.size_bytes, one.download_bytes),
                         .wanted = hub_reference(one.name.tag).wanted,
                         .plan = error(Code::kInternal, "not planned")};
    if (one.model) {
      ASSIGN_OR_RETURN(PlanRequest request, request_of(command, machines, *one.model));
      const MachineProfile machine = machines.for_model(*one.model, request);
      request.machine = &machine;
      request.corrections = &corrections;
      choice.plan = plan_of(command, std::nullopt, request);
      choice.bits_per_weight = model_facts(*one.model).bits_per_weight;
      report.n_ctx = std::max(report.n_ctx, request.n_ctx);
      for (std::string& type : main_types(*one.model))
        if (std::find(report.types.begin(), report.types.end(), type) == report.types.end())
          report.types.push_back(std::move(type));
      if (!shown) shown = machine;
      add_rates(*shown, machine);
    } else {
      choice.plan = Failure(one.model.error());
    }
    report.choices.push_back(std::move(choice));
  }
  if (!shown) return error(Code::kNotFound, fmt::format("{}: none of its files is a model", report.repository));
  report.machine = &*shown;
  return print_and_end(command.json ? repository_json(report) : repository_table(report));
}

Result<int> run_plan(const PlanCommand& command) {
  if (command.profile == "list") return list_profiles(command.json);
  install_interrupt_handler();
  if (const auto repository = whole_repository(command.path)) {
    auto models = inspect_all(*repository);
    if (models) return plan_repository(command, *repository, std::move(*models));
    // Without a network, what is here of it.
    if (models.error().code() != Code::kUnavailable || !resolve_model(command.path)) return Failure(models.error());
    notice(models.error().message() + "; planning what is on this machine");
  }
  return plan_one(command);
}

Result<int> run_inspect(const PlanCommand& command) {
  install_interrupt_handler();
  ASSIGN_OR_RETURN(const Subject subject, subject_of(command.path, command.projector));
  const RemoteFacts* remote = subject.remote ? &*subject.remote : nullptr;
  return print_and_end(command.json ? model_json(subject.model, command.tensors, remote)
                                    : model_table(subject.model, command.tensors, remote));
}

// CLI::Range lets it pass.
CLI::Validator no_nan() {
  const auto check = [](std::string& text) {
    double number = 0;
    return CLI::detail::lexical_cast(text, number) && std::isnan(number) ? "is not a number" : "";
  };
  return {check, ""};
}

}  // namespace

void add_plan_command(CLI::App& app, Action& action) {
  CLI::App* verb = app.add_subcommand("plan", "Say what a run would do and how fast, here or on another machine");
  verb->alias("estimate");
  const auto command = std::make_shared<PlanCommand>();
  verb->add_option("MODEL", command->path, kAnyModelHelp);
  verb->add_option("--speed", command->asked_tok_per_s,
                   "Tokens a second that the best of a repository's models shall decode")
      ->check(CLI::Range(1e-3, 1e6))
      ->check(no_nan())
      ->capture_default_str()
      ->type_name("N");
  verb->add_option("--profile", command->profile,
                   "Machine: a file of spillway profile --json, a name, or 'list' [this]")
      ->type_name("FILE|NAME");
  add_size_option(*verb, "--ram", command->ram_bytes, "Memory for the whole process [what is free, less headroom]");
  verb->add_option("--gpu-memory", command->gpu_memory, "Memory of each device [what it has]; 0 uses none")
      ->check(size_or_zero())
      ->type_name("SIZE");
  verb->add_option("-c,--context", command->n_ctx,
                   "Tokens of context of each sequence [chosen: what the model was trained for, where it fits]")
      ->check(CLI::Range(uint64_t{1}, uint64_t{1} << 28))
      ->type_name("N");
  verb->add_flag("--swa-full", command->swa_full, "Layers with a sliding window keep all of the context");
  add_kernels_option(*verb, command->kernels);
  verb->add_option("--parallel", command->n_seq, "Sequences at once")
      ->check(CLI::Range(1u, 256u))
      ->capture_default_str()
      ->type_name("N");
  verb->add_option("--ubatch", command->n_ubatch, "Tokens of one pass over a prompt [chosen]")
      ->check(CLI::Range(1u, 65536u))
      ->type_name("N");
  declare_cache_options(*verb, command->cache);
  declare_adapter_option(*verb, command->adapters);
  declare_projector_option(*verb, command->projector);
  verb->add_option("--prompt-tokens", command->n_prompt, "Length of the prompt that is weighed")
      ->check(CLI::Range(uint64_t{1}, uint64_t{1} << 28))
      ->each([command](const std::string&) { command->names_prompt = true; })
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
  verb->footer(kPlanExamples);
  verb->callback([&action, command] {
    if (command->path.empty() && command->profile != "list") throw CLI::RequiredError("MODEL");
    action = [command] { return run_plan(*command); };
  });
}

void add_inspect_command(CLI::App& app, Action& action) {
  CLI::App* verb = app.add_subcommand("inspect", "Say what a model consists of");
  const auto command = std::make_shared<PlanCommand>();
  verb->add_option("MODEL", command->path, kAnyModelHelp)->required();
  verb->add_flag("--tensors", command->tensors, "Every tensor");
  verb->add_flag("--json", command->json, "Print one JSON object");
  verb->footer(kInspectExamples);
  verb->callback([&action, command] { action = [command] { return run_inspect(*command); }; });
}

}  // namespace spillway
