// SPDX-License-Identifier: MIT
// spillway list, show, cp and rm: what is in the catalog.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <chrono>
#include <memory>

#include "cli/answer_printer.h"
#include "cli/commands.h"
#include "cli/model_argument.h"
#include "cli/model_table.h"
#include "os/file.h"
#include "serve/template_check.h"

namespace spillway {
namespace {

constexpr const char* kListExamples = R"(Examples:
  spillway list                     our models, and those of Ollama, Hugging Face's cache and LM Studio
  spillway list llama               those with "llama" in their name
  spillway list --json | jq -r '.models[].path')";

constexpr const char* kShowExamples = R"(Examples:
  spillway show llama3.2
  spillway show llama3.2 --only template
  spillway show llama3.2 --only modelfile > Modelfile
  spillway show llama3.2 --verbose --json)";

constexpr const char* kCopyExamples = R"(Examples:
  spillway cp llama3.2 mine:v1      another name; the files are shared
  spillway cp ./model.gguf mine     a copy in our store)";

constexpr const char* kRemoveExamples = R"(Examples:
  spillway rm mine:v1
  spillway rm hf.co/USER/REPO:Q4_K_M hf.co/USER/REPO:Q8_0)";

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

struct ListOptions {
  std::string part;
  bool json = false, names = false;
};

Result<int> run_list(const ListOptions& options) {
  CatalogOptions folders = CatalogOptions::from_environment();
  // What a model can do is told by its template; a table does not show it, and templates take a process each.
  folders.read_template = template_abilities;
  if (!options.json) folders.read_template = [](const std::string&) { return TemplateAbilities(); };
  ASSIGN_OR_RETURN(const std::unique_ptr<Catalog> catalog, Catalog::open(std::move(folders)));
  ASSIGN_OR_RETURN(std::vector<ModelEntry> models, catalog->list());
  std::erase_if(models,
                [&](const ModelEntry& model) { return model.name.shown().find(options.part) == std::string::npos; });
  if (options.json) return print_and_end(models_json(models));
  if (!options.names) return print_and_end(models_table(models, now_ns()));
  std::string names;
  for (const ModelEntry& model : models) names += (names.empty() ? "" : "\n") + model.name.shown();
  return names.empty() ? kExitOk : print_and_end(names);
}

struct ShowOptions {
  std::string model, only;
  bool json = false, verbose = false;
};

// Also of a file that is in no catalog.
Result<ModelDescription> describe(const ShowOptions& options) {
  CatalogOptions folders = CatalogOptions::from_environment();
  folders.read_template = template_abilities;
  const auto entry_path = resolve_model(options.model);
  if (entry_path && *entry_path == options.model) {
    RETURN_IF_ERROR(open_file(options.model, {.direct = false}));  // says what is wrong with a folder
    ASSIGN_OR_RETURN(
        const auto catalog,
        Catalog::open(
            {.own_folder = {}, .ollama_folders = {}, .paths = {options.model}, .read_template = template_abilities}));
    return catalog->describe(name_for_gguf(options.model).full(), options.verbose);
  }
  if (!entry_path) return Failure(entry_path.error());
  ASSIGN_OR_RETURN(const auto catalog, Catalog::open(std::move(folders)));
  return catalog->describe(options.model, options.verbose);
}

Result<int> run_show(const ShowOptions& options) {
  ASSIGN_OR_RETURN(const ModelDescription model, describe(options));
  if (options.only == "modelfile") return print_and_end(model.modelfile);
  if (options.only == "template") return print_and_end(model.extras.template_text);
  if (options.only == "system") return print_and_end(model.extras.system);
  if (options.only == "parameters") return print_and_end(model.parameters_text);
  if (options.only == "license") return print_and_end(fmt::format("{}", fmt::join(model.extras.licenses, "\n")));
  return print_and_end(options.json ? description_json(model) : description_text(model));
}

Result<int> run_copy(const std::string& source, const std::string& destination) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Catalog> catalog, open_user_catalog());
  const auto path = resolve_model(source);
  // A file goes into our store; a name gets a second one.
  if (path && *path == source) {
    CreateRequest request;
    request.gguf_path = source;
    RETURN_IF_ERROR(catalog->create(destination, request));
  } else {
    RETURN_IF_ERROR(catalog->copy(source, destination));
  }
  return kExitOk;
}

Result<int> run_remove(const std::vector<std::string>& names) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Catalog> catalog, open_user_catalog());
  for (const std::string& name : names) RETURN_IF_ERROR(catalog->remove(name));
  return kExitOk;
}

}  // namespace

void add_list_command(CLI::App& app, Action& action) {
  CLI::App* verb =
      app.add_subcommand("list", "Models on this machine: ours, Ollama's, Hugging Face's cache, LM Studio's");
  const auto options = std::make_shared<ListOptions>();
  verb->add_option("PART", options->part, "Only names that contain it")->type_name("");
  verb->add_flag("--json", options->json, "Print one JSON object");
  verb->add_flag("--names", options->names, "Names alone, one per line")->excludes("--json");
  verb->footer(kListExamples);
  verb->callback([&action, options] { action = [options] { return run_list(*options); }; });
}

void add_show_command(CLI::App& app, Action& action) {
  CLI::App* verb = app.add_subcommand("show", "What a model is, and what comes with it");
  const auto options = std::make_shared<ShowOptions>();
  const char* parts = "modelfile|template|system|parameters|license";
  verb->add_option("MODEL", options->model, kModelHelp)->required()->type_name("");
  verb->add_option("--only", options->only, "Print this part alone, as it is")
      ->type_name(parts)
      ->check(CLI::IsMember({"modelfile", "template", "system", "parameters", "license"}).description(""));
  verb->add_flag("--verbose", options->verbose, "Tensors and long arrays too");
  verb->add_flag("--json", options->json, "Print one JSON object")->excludes("--only");
  verb->footer(kShowExamples);
  verb->callback([&action, options] { action = [options] { return run_show(*options); }; });
}

void add_copy_command(CLI::App& app, Action& action) {
  CLI::App* verb = app.add_subcommand("cp", "Give a model another name");
  const auto names = std::make_shared<std::pair<std::string, std::string>>();
  verb->add_option("MODEL", names->first, kModelHelp)->required()->type_name("");
  verb->add_option("NAME", names->second, "The other name; a model of ours that has it is replaced")
      ->required()
      ->type_name("");
  verb->footer(kCopyExamples);
  verb->callback([&action, names] { action = [names] { return run_copy(names->first, names->second); }; });
}

void add_remove_command(CLI::App& app, Action& action) {
  CLI::App* verb = app.add_subcommand("rm", "Remove models of ours, and the files nobody else uses");
  const auto names = std::make_shared<std::vector<std::string>>();
  verb->add_option("NAME", *names, "As 'spillway list' shows it; one or more")->required()->type_name("");
  verb->footer(kRemoveExamples);
  verb->callback([&action, names] { action = [names] { return run_remove(*names); }; });
}

}  // namespace spillway
