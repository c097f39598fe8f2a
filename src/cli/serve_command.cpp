// SPDX-License-Identifier: MIT
// spillway serve: answers HTTP until it is told to stop.
#include <fmt/format.h>
#include <signal.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <memory>

#include "base/bytes.h"
#include "base/notice.h"
#include "cli/adapter_options.h"
#include "cli/cache_options.h"
#include "cli/commands.h"
#include "cli/device_choice.h"
#include "cli/end_by_signal.h"
#include "cli/last_resort.h"
#include "cli/model_argument.h"
#include "cli/model_defaults.h"
#include "cli/projector_options.h"
#include "cli/pull_offer.h"
#include "cli/run/run_options.h"
#include "cli/serve_environment.h"
#include "cli/serve_forecast.h"
#include "cli/serve_limits.h"
#include "cli/serve_log.h"
#include "model/catalog.h"
#include "model/gguf_model.h"
#include "model/model_name.h"
#include "os/machine.h"
#include "os/own_program.h"
#include "os/process_setup.h"
#include "os/task_limit.h"
#include "os/tcp.h"
#include "probe/device_probe.h"
#include "serve/routes.h"
#include "serve/template_check.h"
#include "serve/ui/ui_files.h"
#include "serve/web_server.h"

namespace spillway {
namespace {

constexpr const char* kServeExamples = R"(Examples:
  spillway serve                                  every model on this machine, at http://127.0.0.1:11434
  spillway serve big-moe.gguf --ram 8G            this file too, loaded at once
  spillway serve hf.co/USER/REPO:Q4_K_M --pull    this model, downloaded before if it is not here
  spillway serve --parallel 4 --context 32768     four requests at a time, each with 32768 tokens of context
  spillway serve --host 0.0.0.0 --api-key SECRET  for other machines
  curl http://127.0.0.1:11434/api/chat -d '{"model":"big-moe","messages":[{"role":"user","content":"Hi"}]}')";

// What the process keeps for itself of the time it is given to stop.
constexpr int kDrain_s = 30;
constexpr int kBreakOff_s = 10;  // then for what was broken off

// Of the budget, for conversations in memory where nobody says how much: weights in that memory would save a 64th of
// what is read for each token, and a conversation that is computed again costs hundreds of passes. Longer ones are on
// disk.
constexpr uint64_t kCacheShare = 64;
constexpr uint64_t kCacheBytesMax = 256 * MiB;
constexpr uint64_t kCacheChosen = UINT64_MAX;  // nobody said how much

struct ServeOptions {
  std::vector<std::string> paths;
  std::string alias;
  WebServerOptions web;
  ManagerOptions manager;
  std::string keep_alive = "5m", cache_folder, log_level = "info";
  uint64_t cache_memory_bytes = kCacheChosen;
  uint64_t cache_disk_bytes = 8 * GiB;
  bool no_cache_ram = false, no_cache_disk = false, pull = false;
  RunOptions devices;  // of it, what declare_device_options() fills
};

void declare(CLI::App& app, ServeOptions& o) {
  LoadOptions& load = o.manager.load;
  app.add_option(
         "MODEL", o.paths,
         "GGUF files, or folders of them, besides the models on this machine, or names; a model is loaded at once")
      ->type_name("FILE");
  app.add_flag("--pull", o.pull, "Download named models that are not here without asking");
  app.add_option("--alias", o.alias, "Name of the one MODEL that is given [its file's]")->type_name("NAME");
  const char* web = "Network";
  app.add_option("--host", o.web.host, "Address to listen on [$OLLAMA_HOST]")
      ->type_name("ADDRESS")
      ->check(not_blank())
      ->capture_default_str()
      ->group(web);
  app.add_option("--port", o.web.port, "Port; 0: any that is free [$OLLAMA_HOST]")
      ->type_name("N")
      ->check(CLI::Range(0, 65535))
      ->capture_default_str()
      ->group(web);
  app.add_option("--api-key", o.web.guard.api_key, "Who does not send this key is refused [$SPILLWAY_API_KEY]")
      ->type_name("KEY")
      ->check(not_blank())
      ->envname("SPILLWAY_API_KEY")
      ->group(web);
  app.add_option("--origins", o.web.guard.origins,
                 "More web origins that may use the server; * stands for anything [$OLLAMA_ORIGINS]")
      ->type_name("LIST")
      ->check(not_blank())
      ->delimiter(',')
      ->group(web);
  app.add_option("--hosts", o.web.guard.hosts,
                 "More names by which the server may be asked for, besides this machine's own; * stands for anything "
                 "[$SPILLWAY_HOSTS]")
      ->type_name("LIST")
      ->check(not_blank())
      ->delimiter(',')
      ->envname("SPILLWAY_HOSTS")
      ->group(web);
  app.add_option("--connections", o.web.connections_max, "Most connections at once")
      ->type_name("N")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str()
      ->group(web);
  add_size_option(app, "--body-max", o.web.body_bytes_max, "Largest request [64 MiB]")->group(web);
  const char* models = "Models";
  add_size_option(app, "--ram", load.ram_bytes, "Memory for the whole process [what is free, less headroom]")
      ->group(models);
  app.add_option("-c,--context", o.manager.n_ctx,
                 "Tokens of context for each request that names none [$OLLAMA_CONTEXT_LENGTH, or what the model was "
                 "trained for, where it fits]")
      ->type_name("N")
      ->check(CLI::Range(4, 1 << 24))
      ->group(models);
  app.add_flag("--swa-full", load.swa_full,
               "Layers with a sliding window keep all of the context, and need no checkpoints")
      ->group(models);
  declare_cache_options(app, load.cache, models);
  declare_adapter_option(app, o.manager.adapters, models);
  declare_projector_option(app, o.manager.projector_path, models);
  app.add_option("--parallel", o.manager.n_parallel, "Requests that one model answers together [$OLLAMA_NUM_PARALLEL]")
      ->type_name("N")
      ->check(CLI::Range(1, 256))
      ->capture_default_str()
      ->group(models);
  app.add_option("--queue", o.manager.queue_max,
                 "Requests that may wait for a model; more are told to try again [$OLLAMA_MAX_QUEUE]")
      ->type_name("N")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str()
      ->group(models);
  app.add_option("--keep-alive", o.keep_alive,
                 "How long an unused model stays loaded: 5m, 300 (seconds), -1 (for ever) [$OLLAMA_KEEP_ALIVE]")
      ->type_name("TIME")
      ->capture_default_str()
      ->group(models);
  app.add_option(
         "--models-max", o.manager.models_max,
         "Where so many models are loaded, one that is idle makes room for the next [$OLLAMA_MAX_LOADED_MODELS]")
      ->type_name("N")
      ->check(CLI::Range(1, 64))
      ->capture_default_str()
      ->group(models);
  add_threads_option(app, load.n_threads, "Threads for arithmetic [the CPUs this process may use]")->group(models);
  app.add_option("--ubatch", load.n_ubatch, "Tokens that share one reading of the weights")
      ->type_name("N")
      ->capture_default_str()
      ->group(models);
  const auto set_mode = [&load](const std::string& name) {
    load.mode.reset();
    for (const Mode mode : {Mode::kResident, Mode::kStream, Mode::kMmap})
      if (name == mode_name(mode)) load.mode = mode;
    if (!load.mode && name != "auto")
      throw CLI::ValidationError("--mode", "'" + name + "' is none of auto, resident, stream, mmap");
  };
  app.add_option_function<std::string>("--mode", set_mode, "Where weights live [auto]")
      ->type_name("auto|resident|stream|mmap")
      ->group(models);
  add_kernels_option(app, load.kernels)->group(models);
  declare_device_options(app, o.devices, models);
  const char* cache = "Prompt cache";
  add_size_or_zero_option(
      app, "--cache-ram", o.cache_memory_bytes,
      "Memory of --ram for conversations that lost their slot; 0: none [a 64th of it, at most 256 MiB]")
      ->group(cache);
  add_size_or_zero_option(app, "--cache-disk", o.cache_disk_bytes,
                          "Disk for long prompts, which a restart then need not compute again; 0: none [8 GiB]")
      ->group(cache);
  app.add_option("--cache-folder", o.cache_folder, "Where [the user's cache folder]")->type_name("FILE")->group(cache);
  app.add_flag("--no-cache-ram", o.no_cache_ram, "Keep none in memory")->group(cache);
  app.add_flag("--no-cache-disk", o.no_cache_disk, "Keep no prompts on disk")->group(cache);
  app.add_option("--log", o.log_level, "What is logged on stderr")
      ->type_name("debug|info|warn|off")
      ->check(CLI::IsMember({"debug", "info", "warn", "off"}))
      ->capture_default_str();
  app.footer(kServeExamples);
}

// Ollama's variables, where no option says otherwise.
Result<void> take_environment(const IsGiven& is_given, ServeOptions& o) {
  ASSIGN_OR_RETURN(const ServeEnvironment said,
                   read_serve_environment([](const char* name) { return std::getenv(name); }));
  const auto take = [&](const char* option, const auto& value, auto& to) {
    if (value && !is_given(option)) to = *value;
  };
  take("--host", said.host, o.web.host);
  take("--port", said.port, o.web.port);
  take("--context", said.n_ctx, o.manager.n_ctx);
  take("--parallel", said.n_parallel, o.manager.n_parallel);
  take("--queue", said.queue_max, o.manager.queue_max);
  take("--models-max", said.models_max, o.manager.models_max);
  take("--keep-alive", said.keep_alive_s, o.manager.keep_alive_s);
  if (said.keep_alive_s && !is_given("--keep-alive")) o.keep_alive.clear();
  if (!is_given("--origins")) o.web.guard.origins = said.origins;
  if (said.debug && !is_given("--log")) o.log_level = "debug";
  LoadOptions& load = o.manager.load;
  take("--flash-attn", said.flash_attention, load.cache.flash);
  if (said.kv_cache_type && !is_given("--cache-type-k") && !is_given("--cache-type-v")) {
    load.cache.type_k = load.cache.type_v = *said.kv_cache_type;
    load.cache_is_optional = true;  // as Ollama has it: models that cannot keep it so keep f16
  }
  return {};
}

Result<void> configure(ServeOptions& o) {
  if (!o.keep_alive.empty()) {
    const auto keep_alive_s = parse_keep_alive_s(o.keep_alive);
    if (!keep_alive_s)
      return error(keep_alive_s.error().code(), fmt::format("--keep-alive: {}", keep_alive_s.error().message()));
    o.manager.keep_alive_s = *keep_alive_s;
  }
  if (!o.no_cache_disk && o.cache_disk_bytes > 0) {
    o.manager.cache_folder = !o.cache_folder.empty() ? o.cache_folder : cache_folder();
    if (!o.manager.cache_folder.empty()) o.manager.cache_folder += "/prompts";
  }
  o.manager.cache_disk_bytes = o.cache_disk_bytes;
  const uint64_t ram_bytes = o.manager.load.ram_bytes;
  const bool chosen = o.cache_memory_bytes == kCacheChosen;
  if (!chosen && ram_bytes > 0 && o.cache_memory_bytes >= ram_bytes)
    return error(Code::kInvalidArgument, "--cache-ram is part of --ram and must be less");
  const uint64_t budget_bytes = ram_bytes > 0 ? ram_bytes : memory_state().available_bytes;
  o.manager.cache_memory_bytes = chosen ? std::min(budget_bytes / kCacheShare, kCacheBytesMax) : o.cache_memory_bytes;
  if (o.no_cache_ram) o.manager.cache_memory_bytes = 0;
  o.web.guard.own_addresses = own_addresses;
  char machine[256] = "";
  if (gethostname(machine, sizeof machine - 1) == 0) o.web.guard.machine = machine;
  return {};
}

// As `spillway run` does, anew for each model: GPUs and workers come and go.
Result<LoadOptions> with_devices(RunOptions devices, const LoadOptions& load) {
  const double worker_answer_s = devices.load.devices.worker_answer_s;
  devices.load = load;
  devices.load.devices.worker_answer_s = worker_answer_s;
  RETURN_IF_ERROR(choose_devices(devices));
  return devices.load;
}

// Of what was named, the models that are no files; those that are not here are offered for download.
Result<std::vector<std::string>> take_names(ServeOptions& o) {
  std::vector<std::string> names, paths;
  for (const std::string& path : o.paths) {
    const auto name = remote_name(path);
    if (!name) {
      paths.push_back(path);
      continue;
    }
    if (const auto here = resolve_model(path); !here) {
      if (here.error().code() != Code::kNotFound) return Failure(here.error());
      LoadOptions load = o.manager.load;
      load.n_ctx = o.manager.n_ctx;
      load.n_seq_max = o.manager.n_parallel;
      RETURN_IF_ERROR(offer_pull(path, *name, load, o.pull));
    }
    names.push_back(name->shown());
  }
  o.paths = std::move(paths);
  return names;
}

// What else lies in a folder is passed over; a file that was named is a model, or the server does not start.
Result<void> check_files(const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    std::error_code ec;
    if (std::filesystem::is_directory(path, ec)) continue;
    if (const auto model = open_gguf_model(path); !model) return Failure(model.error());
  }
  return {};
}

// The models that were named, which `option` adds something to.
Result<std::vector<std::string>> models_named(Catalog& catalog, const std::vector<std::string>& named,
                                              const std::string& option) {
  if (named.empty())
    return error(Code::kInvalidArgument, fmt::format("{} adds to the MODEL that is given: name one", option));
  std::vector<std::string> names;
  for (const std::string& name : named) {
    const auto entry = catalog.find(name);
    if (!entry)
      return error(Code::kInvalidArgument,
                   fmt::format("{} adds to models, not to folders of them: there is no model '{}'", option, name));
    names.push_back(entry->name.shown());
  }
  return names;
}

Result<std::vector<std::string>> adapted_models(Catalog& catalog, const std::vector<std::string>& named,
                                                const std::vector<LoraAdapter>& adapters) {
  ASSIGN_OR_RETURN(std::vector<std::string> names, models_named(catalog, named, "--lora"));
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(const ModelEntry entry, catalog.find(name));
    ASSIGN_OR_RETURN(const GgufModel model, open_gguf_model(entry.path));
    RETURN_IF_ERROR(adapter_bytes(adapters, model));
  }
  return names;
}

Result<int> serve(ServeOptions options, const IsGiven& is_given) {
  RETURN_IF_ERROR(take_environment(is_given, options));
  RETURN_IF_ERROR(configure(options));
  ASSIGN_OR_RETURN(std::vector<std::string> at_once, take_names(options));
  if (!options.alias.empty() && options.paths.empty() && !at_once.empty())
    return error(Code::kInvalidArgument,
                 fmt::format("--alias names a file; {0} has a name: `spillway cp {0} {1}` gives "
                             "it another",
                             at_once.front(), options.alias));
  RETURN_IF_ERROR(check_files(options.paths));
  const auto log = spdlog::stderr_color_mt("spillway");
  log->set_pattern("%Y-%m-%dT%H:%M:%S.%e %l %v");
  log->set_level(spdlog::level::from_str(options.log_level));
  set_notice_sink([log](const std::string& sentence) { log->warn("{}", log_line(sentence)); });
  for (const std::string& sentence : unapplied_variables(environ)) log->warn("{}", log_line(sentence));
  options.manager.log = [log](const std::string& line) { log->info("{}", log_line(line)); };
  options.manager.load_engine = [devices =
                                     options.devices](const LoadOptions& load) -> Result<std::unique_ptr<Engine>> {
    ASSIGN_OR_RETURN(const LoadOptions all, with_devices(devices, load));
    return Engine::load(all);
  };
  options.manager.check_room = [devices = options.devices](const LoadOptions& load,
                                                           uint64_t held_bytes) -> Result<void> {
    ASSIGN_OR_RETURN(const LoadOptions all, with_devices(devices, load));
    return Engine::check_room(all, held_bytes);
  };
  options.web.log = [log](const WebRequest& request, int status, double seconds) {
    // The page asks every second: shown with --log debug.
    const bool of_page = request.path.starts_with("/api/spillway/") || request.path.starts_with("/ui");
    log->log(of_page ? spdlog::level::debug : spdlog::level::info, "{}", log_line(request, status, seconds));
  };

  // 1. Signals are waited for by this thread; every thread that is started from here on leaves them to it.
  sigset_t stop_signals;
  sigemptyset(&stop_signals);
  sigaddset(&stop_signals, SIGINT);
  sigaddset(&stop_signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &stop_signals, nullptr);

  // 2. Models, then the port.
  CatalogOptions places = CatalogOptions::from_environment();
  places.paths = options.paths;
  places.read_template = template_abilities;
  places.tidies = true;
  if (!options.alias.empty()) {
    ASSIGN_OR_RETURN(places.alias, parse_model_name(options.alias));
  }
  ASSIGN_OR_RETURN(const auto catalog, Catalog::open(places));
  for (const std::string& path : options.paths)
    at_once.push_back((places.alias ? *places.alias : name_for_gguf(path)).shown());
  if (!options.manager.adapters.empty()) {
    ASSIGN_OR_RETURN(options.manager.adapted_models, adapted_models(*catalog, at_once, options.manager.adapters));
  }
  options.manager.no_projectors = options.manager.projector_path == kNoProjector;
  if (!options.manager.projector_path.empty() && !options.manager.no_projectors) {
    RETURN_IF_ERROR(projector_bytes(options.manager.projector_path));
    ASSIGN_OR_RETURN(options.manager.projected_models, models_named(*catalog, at_once, "--mmproj"));
  }
  if (const char* ollama = std::getenv("OLLAMA_MODELS"); ollama != nullptr && *ollama != '\0')
    log->info("OLLAMA_MODELS={} is read; what is pulled or created goes to {} ($SPILLWAY_MODELS)", ollama,
              places.own_folder);
  ASSIGN_OR_RETURN(const auto gpu_memory_bytes, gpu_memory_of(options.devices));
  auto manager = std::make_unique<ModelManager>(*catalog, options.manager);
  RoutesOptions routes_options{.version = SPILLWAY_VERSION,
                               .unix_s = {},
                               .forecast = make_forecaster({.ram_bytes = options.manager.load.ram_bytes,
                                                            .n_parallel = options.manager.n_parallel,
                                                            .mode = options.manager.load.mode,
                                                            .kernels = options.manager.load.kernels,
                                                            .cache = options.manager.load.cache,
                                                            .cache_is_optional = options.manager.load.cache_is_optional,
                                                            .swa_full = options.manager.load.swa_full,
                                                            .n_ubatch = options.manager.load.n_ubatch,
                                                            .gpu_memory_bytes = gpu_memory_bytes,
                                                            .device_names = options.devices.device_names})};
  for (const UiFile& file : ui_files())
    routes_options.pages[std::string(file.path)] = {std::string(file.content_type), std::string(file.bytes)};
  // Before anybody can open a connection: backends that are looked for while no more files may be opened are not found,
  // and a processor's slower one instead of its own would give other bits until the server ends.
  RETURN_IF_ERROR(ggml_inventory());
  Routes routes(*catalog, *manager, std::move(routes_options));
  const size_t n_connections = connections_at_once(open_files_max(), options.web.connections_max);
  if (n_connections < options.web.connections_max)
    log->warn("{} connections at once instead of {}: this process may open {} files (ulimit -n)", n_connections,
              options.web.connections_max, open_files_max());
  options.web.connections_max = n_connections;
  options.web.requests_max = std::min(options.web.requests_max, requests_of(n_connections));
  const size_t n_requests = requests_at_once(tasks_max(), usable_cpus(), options.web.requests_max);
  if (n_requests < options.web.requests_max)
    log->warn("{} requests at once instead of {}: this process may have {} threads (ulimit -u, or a container's limit)",
              n_requests, options.web.requests_max, tasks_max());
  options.web.requests_max = n_requests;
  ASSIGN_OR_RETURN(const auto server, WebServer::start(options.web, routes));
  log->info("listening on {}", server->url());
  if (!server->is_loopback() && options.web.guard.api_key.empty())
    log->warn("anybody who reaches {} may use this server; --api-key asks for a key", options.web.host);
  for (const std::string& name : at_once) {
    if (catalog->find(name)) manager->ask(name, std::nullopt, std::nullopt);  // keep_alive counts from its end
  }

  // 3. Until somebody says stop.
  int signal = 0;
  sigwait(&stop_signals, &signal);
  log->info("{}: finishing what runs, at most {} s; again to stop at once", signal == SIGINT ? "SIGINT" : "SIGTERM",
            kDrain_s);
  for (const int number : {SIGINT, SIGTERM}) std::signal(number, end_by_signal);  // the second one
  pthread_sigmask(SIG_UNBLOCK, &stop_signals, nullptr);
  const bool drained = manager->drain(std::chrono::seconds(kDrain_s));
  if (!drained) log->warn("some requests did not finish and are broken off");
  const LastResort last_resort(std::chrono::seconds(kBreakOff_s), [log] {
    log->warn("what does not stop is left behind");
    log->flush();
  });
  manager->stop();
  server->stop();
  manager.reset();
  log->info("stopped");
  return kExitOk;
}

}  // namespace

void add_serve_command(CLI::App& app, Action& action) {
  CLI::App* verb =
      app.add_subcommand("serve", "Serve models over HTTP, as Ollama, OpenAI and Anthropic clients expect");
  const auto options = std::make_shared<ServeOptions>();  // shared by CLI11's callbacks, which live as long as the app
  declare(*verb, *options);
  const IsGiven is_given = [verb](const std::string& option) { return verb->count(option) > 0; };
  verb->callback([&action, options, is_given] { action = [options, is_given] { return serve(*options, is_given); }; });
}

}  // namespace spillway
