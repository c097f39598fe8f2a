// SPDX-License-Identifier: MIT
// spillway create: a model of our store made of another one, with parameters, template and system message of its own.
#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "base/bytes.h"
#include "base/notice.h"
#include "cli/answer_printer.h"
#include "cli/commands.h"
#include "cli/model_argument.h"
#include "cli/projector_options.h"
#include "cli/text_input.h"
#include "model/modelfile.h"
#include "os/home_folder.h"
#include "serve/ollama_options.h"
#include "serve/template_check.h"

namespace spillway {
namespace {

constexpr const char* kCreateExamples = R"(Examples:
  spillway create brief --from llama3.2 --system "Answer in one sentence." --parameter temperature=0.2
  spillway create mine --from ./model.gguf --template chat.jinja
  spillway create mine --file Modelfile
  spillway show mine --only modelfile > Modelfile    what to begin with

A Modelfile has lines like these; what the command line says comes before it:
  FROM llama3.2
  PARAMETER num_ctx 8192
  PARAMETER stop "<|user|>"
  SYSTEM """Answer in one sentence."""
  ADAPTER ./style-lora.gguf
A second FROM is a projector of images, mmproj.gguf.

'run' and 'serve' use what is stored; templates are Jinja or Go. Nothing is quantized here: llama-quantize does that.)";

// Of a Modelfile, a template and a license each, as the store reads them again.
constexpr uint64_t kFileBytesMax = 4 * MiB;

struct CreateOptions {
  std::string name;
  std::optional<std::string> from, file, system, template_path, license_path;
  std::vector<std::string> parameters;
  std::vector<std::string> adapters;
  std::string projector;
  std::string quantize;  // that there is none
};

// A path is meant from the folder of the Modelfile that names it, or from the home folder ("~/").
std::string from_folder_of(const std::string& file, const std::string& named) {
  const std::string from = below_home(named);
  const std::filesystem::path path(from);
  if (path.is_absolute() || file == "-") return from;
  const std::filesystem::path beside = std::filesystem::path(file).parent_path() / path;
  std::error_code ec;
  const bool named_as_path = from.starts_with("./") || from.starts_with("../") || from.ends_with(".gguf");
  return named_as_path || std::filesystem::is_regular_file(beside, ec) ? beside.string() : from;
}

Result<CreateRequest> read_modelfile(const std::string& file) {
  ASSIGN_OR_RETURN(const std::string text, read_text(file, kFileBytesMax));
  ASSIGN_OR_RETURN(CreateRequest request, parse_modelfile(text));
  request.from = from_folder_of(file, request.from);
  if (!request.projector.empty()) request.projector = from_folder_of(file, request.projector);
  for (std::string& path : request.adapter_paths) {
    path = below_home(path);
    if (file != "-") path = (std::filesystem::path(file).parent_path() / path).string();
  }
  return request;
}

Result<CreateRequest> request_of(const CreateOptions& options) {
  CreateRequest request;
  std::error_code ec;
  if (options.file) {
    ASSIGN_OR_RETURN(request, read_modelfile(*options.file));
  } else if (!options.from && std::filesystem::exists("Modelfile", ec)) {
    ASSIGN_OR_RETURN(request, read_modelfile("Modelfile"));
  }
  if (options.from) request.from = *options.from;
  if (request.from.empty())
    return error(Code::kInvalidArgument, "what to make it of? --from MODEL, or --file with a Modelfile");
  if (!options.adapters.empty()) request.adapter_paths = options.adapters;
  if (!options.projector.empty()) request.projector = options.projector;
  if (options.system) request.system = options.system;
  if (options.template_path) {
    ASSIGN_OR_RETURN(request.template_text, read_text(*options.template_path, kFileBytesMax));
  }
  if (options.license_path) {
    ASSIGN_OR_RETURN(std::string license, read_text(*options.license_path, kFileBytesMax));
    request.licenses = {std::move(license)};
  }
  Json given = Json::object();
  for (const std::string& parameter : options.parameters) {
    const size_t equals = parameter.find('=');
    if (equals == 0 || equals == std::string::npos)
      return error(Code::kInvalidArgument,
                   fmt::format("--parameter '{}': write NAME=VALUE, for example temperature=0.2", parameter));
    add_parameter(given, parameter.substr(0, equals), parameter.substr(equals + 1));
  }
  for (const auto& [name, value] : given.items()) request.parameters[name] = value;
  if (request.template_text && !request.template_text->empty())  // empty: the old one goes
    RETURN_IF_ERROR(check_template(*request.template_text));
  RETURN_IF_ERROR(check_option_names(request.parameters));
  RETURN_IF_ERROR(parse_ollama_options(request.parameters));
  return request;
}

// A name stays a name; a file goes into our store.
Result<void> resolve_from(CreateRequest& request) {
  ASSIGN_OR_RETURN(const NamedModel model, resolve_named_model(request.from));
  if (model.extras) return {};
  request.gguf_path = model.path;
  request.from.clear();
  return {};
}

Result<int> run_create(const CreateOptions& options) {
  if (!options.quantize.empty())
    return error(Code::kUnsupported, "create does not quantize; use llama-quantize, and create with what it writes");
  ASSIGN_OR_RETURN(CreateRequest request, request_of(options));
  RETURN_IF_ERROR(resolve_from(request));
  ASSIGN_OR_RETURN(const std::unique_ptr<Catalog> catalog, open_user_catalog());
  ASSIGN_OR_RETURN(const ModelName name, parse_model_name(options.name));
  RETURN_IF_ERROR(catalog->create(options.name, request));
  return print_and_end(fmt::format("{} is made", name.shown()));
}

}  // namespace

void add_create_command(CLI::App& app, Action& action) {
  CLI::App* verb = app.add_subcommand("create", "Make a model of another, with settings of its own");
  const auto options = std::make_shared<CreateOptions>();
  verb->add_option("NAME", options->name, "Of the new model; one of ours that has it is replaced")
      ->required()
      ->type_name("");
  verb->add_option("--from", options->from, kModelHelp)->type_name("MODEL");
  verb->add_option("-f,--file", options->file, "A Modelfile; - is standard input [./Modelfile, without --from]")
      ->type_name("FILE");
  verb->add_option("-p,--parameter", options->parameters, "As num_ctx=8192 or stop=END; may be repeated")
      ->type_name("NAME=VALUE")
      ->take_all()
      ->allow_extra_args(false);
  verb->add_option("--system", options->system, "System message")->type_name("TEXT");
  verb->add_option("--template", options->template_path, "A chat template (Jinja or Go)")->type_name("FILE");
  verb->add_option("--license", options->license_path, "The text of its license")->type_name("FILE");
  verb->add_option("-q,--quantize", options->quantize)->group("");
  verb->add_option("--adapter", options->adapters, "A LoRA adapter (GGUF) that belongs to it; may be repeated")
      ->type_name("FILE")
      ->take_all()
      ->allow_extra_args(false);
  declare_projector_option(*verb, options->projector);
  verb->footer(kCreateExamples);
  verb->callback([&action, options] { action = [options] { return run_create(*options); }; });
}

}  // namespace spillway
