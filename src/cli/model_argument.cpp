// SPDX-License-Identifier: MIT
#include "cli/model_argument.h"

#include <fmt/format.h>

#include <filesystem>

#include "cli/interrupt.h"

namespace spillway {
namespace {

bool looks_like_path(const std::string& argument) {
  // "hf.co/USER/REPO/file.gguf" is a name.
  if (const auto name = parse_model_name(argument); name && name->is_hugging_face()) return false;
  for (const char* prefix : {"/", "./", "../", "~"})
    if (argument.starts_with(prefix)) return true;
  return argument.ends_with(".gguf") || argument.ends_with('/');
}

}  // namespace

Result<std::unique_ptr<Catalog>> open_user_catalog() { return Catalog::open(CatalogOptions::from_environment()); }

Result<std::string> resolve_model(const std::string& argument) {
  ASSIGN_OR_RETURN(NamedModel model, resolve_named_model(argument));
  return std::move(model.path);
}

Result<NamedModel> resolve_named_model(const std::string& argument) {
  std::error_code ec;
  const auto status = std::filesystem::status(argument, ec);
  const bool is_there = std::filesystem::exists(status) && !std::filesystem::is_directory(status);
  if (is_there || looks_like_path(argument)) return NamedModel{.path = argument, .extras = {}};
  ASSIGN_OR_RETURN(const std::unique_ptr<Catalog> catalog, open_user_catalog());
  const auto entry = catalog->find(argument);
  if (entry) {
    ASSIGN_OR_RETURN(ModelExtras extras, catalog->extras(argument));
    return NamedModel{.path = entry->path, .extras = std::move(extras)};
  }
  const Code code = entry.error().code();
  if (code != Code::kNotFound && code != Code::kInvalidArgument) return Failure(entry.error());
  if (std::filesystem::is_directory(status))
    return NamedModel{.path = argument, .extras = {}};  // opening it says what is wrong with a folder
  return error(
      Code::kNotFound,
      fmt::format("{}: no such file, and no model of that name; see 'spillway list', or 'spillway pull' it", argument));
}

std::optional<ModelName> remote_name(const std::string& argument) {
  std::error_code ec;
  if (looks_like_path(argument) || std::filesystem::exists(argument, ec)) return std::nullopt;
  auto name = parse_model_name(argument);
  return name ? std::optional(std::move(*name)) : std::nullopt;
}

PullOptions user_pull_options() {
  PullOptions options = PullOptions::from_environment();
  const CatalogOptions folders = CatalogOptions::from_environment();
  options.own_folder = folders.own_folder;
  options.other_folders = folders.ollama_folders;
  options.hub_cache_folders = folders.hub_cache_folders;
  options.cancelled = interrupted;
  return options;
}

Result<RemoteModel> find_remote(const std::string& argument, const ModelName& name) {
  PullOptions options = user_pull_options();
  options.attempts = 3;
  auto remote = inspect_remote(name, options);
  if (remote || remote.error().code() == Code::kCancelled) return remote;
  return error(remote.error().code(),
               fmt::format("{}: no such file, and no model of that name here; {}", argument, remote.error().message()));
}

}  // namespace spillway
