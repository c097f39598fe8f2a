// SPDX-License-Identifier: MIT
#include "fetch/pull.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "base/bytes.h"
#include "fetch/hub_repository.h"
#include "fetch/pull_plan.h"
#include "model/gguf_facts.h"
#include "model/model_files.h"
#include "os/file.h"
#include "os/folder.h"
#include "os/home_folder.h"

namespace spillway {
namespace {

// What other programs may write meanwhile, and the manifest.
constexpr uint64_t kSpareBytes = 16 * MiB;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string without_last_slash(std::string url) {
  while (url.ends_with('/')) url.pop_back();
  return url;
}

// As its own programs look for it.
std::string kept_hf_token() {
  for (const char* name : {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"})
    if (std::string token = environment(name); !token.empty()) return token;
  const std::string home = environment("HF_HOME"), cache = environment("XDG_CACHE_HOME");
  std::string path = environment("HF_TOKEN_PATH");
  if (path.empty() && !home.empty()) path = home + "/token";
  if (path.empty() && !cache.empty()) path = cache + "/huggingface/token";
  if (path.empty()) path = home_folder() + "/.cache/huggingface/token";
  constexpr uint64_t kTokenBytesMax = 4096;
  std::string token = read_text_file(path, kTokenBytesMax).value_or("");
  token.erase(std::min(token.find_first_of(" \t\r\n"), token.size()));
  return token;
}

// "host:port" as people write it, too.
std::string with_scheme(std::string url) {
  if (!url.empty() && url.find("://") == std::string::npos) url = "https://" + url;
  return without_last_slash(std::move(url));
}

void say(const PullOptions& options, const std::string& status) {
  if (options.progress) options.progress({.status = status, .digest = {}});
}

Result<void> check_room(const ModelStore& store, const PullPlan& plan) {
  uint64_t missing = 0;
  for (const BlobSource& blob : plan.blobs)
    if (__builtin_add_overflow(missing, blob.size_bytes - bytes_present(store, blob), &missing)) missing = UINT64_MAX;
  if (missing == 0) return {};
  const std::string folder = weights_folder(store.folder());
  ASSIGN_OR_RETURN(const uint64_t free_bytes, disk_bytes_free(folder));
  if (free_bytes >= kSpareBytes && free_bytes - kSpareBytes >= missing) return {};
  return error(Code::kDiskFull, fmt::format("{}: {} to download, {} free; set SPILLWAY_MODELS to a folder with room",
                                            folder, format_bytes(missing), format_bytes(free_bytes)));
}

// For files that came without a manifest: what they are, they say themselves.
Result<std::string> manifest_of_files(ModelStore& store, const PullPlan& plan, const GgufFacts& facts) {
  Manifest manifest;
  for (const BlobSource& blob : plan.blobs) {
    const bool is_projector = blob.digest == plan.projector_digest;
    manifest.layers.push_back({.media_type = media_type_of(is_projector ? LayerKind::kProjector : LayerKind::kModel),
                               .digest = blob.digest,
                               .size_bytes = blob.size_bytes,
                               .from = {}});
  }
  const std::string config = config_text({.format = "gguf",
                                          .family = facts.architecture,
                                          .parameter_size = facts.parameter_size,
                                          .quantization = facts.quantization_level,
                                          .families = {facts.architecture},
                                          .renderer = {},
                                          .parser = {},
                                          .requires_version = {}});
  ASSIGN_OR_RETURN(manifest.config.digest, store.add_blob(config));
  manifest.config.size_bytes = config.size();
  return manifest_text(manifest);
}

Result<ModelFiles> files_of_plan(const ModelStore& store, const PullPlan& plan) {
  ModelFiles files;
  if (plan.manifest.empty()) {
    for (const BlobSource& blob : plan.blobs)
      (blob.digest == plan.projector_digest ? files.projectors : files.parts)
          .push_back(store.own_blob_path(blob.digest));
    return files;
  }
  ASSIGN_OR_RETURN(const Manifest manifest, parse_manifest(plan.manifest));
  for (const Layer* layer : manifest.of_kind(LayerKind::kModel))
    files.parts.push_back(store.own_blob_path(layer->digest));
  for (const Layer* layer : manifest.of_kind(LayerKind::kAdapter))
    files.adapters.push_back(store.own_blob_path(layer->digest));
  for (const Layer* layer : manifest.of_kind(LayerKind::kProjector))
    files.projectors.push_back(store.own_blob_path(layer->digest));
  return files;
}

// That a file is wrong, and not that it could not be looked at: for want of descriptors, of memory, of a disk that
// reads.
bool is_about_content(Code code) {
  return code == Code::kCorrupt || code == Code::kInvalidArgument || code == Code::kUnsupported;
}

// What a server calls a model may be anything, and its name may be that of one that works: it is looked at first.
//   Changed   somebody removed it meanwhile
Result<GgufFacts> check_model(const ModelStore& store, const ModelName& name, const PullPlan& plan) {
  const auto check = [&]() -> Result<GgufFacts> {
    ASSIGN_OR_RETURN(const ModelFiles files, files_of_plan(store, plan));
    ASSIGN_OR_RETURN(CheckedModel model, check_model_parts(name.shown(), files.parts));
    RETURN_IF_ERROR(check_beside(model.gguf, files));
    return std::move(model.facts);
  };
  auto facts = check();
  if (facts) return facts;
  const Code code = facts.error().code();
  if (is_about_content(code))
    return error(code,
                 fmt::format("{}: what came is no model that can be used: {}", name.shown(), facts.error().message()));
  return error(code == Code::kNotFound ? Code::kChanged : code,
               fmt::format("{}: what came could not be looked at: {}", name.shown(), facts.error().message()));
}

// `fresh`: digests of what was not here before, and goes again where it is no model.
Result<void> fetch_and_commit(ModelStore& store, const ModelName& name, const PullPlan& plan,
                              const std::vector<std::string>& fresh, const PullOptions& options) {
  for (const BlobSource& blob : plan.blobs) RETURN_IF_ERROR(download_blob(store, blob, options));
  say(options, "verifying sha256 digest");  // done piece by piece as they came
  const auto facts = check_model(store, name, plan);
  // What is whole is not fetched again.
  if (!facts && is_about_content(facts.error().code())) store.remove_unused(fresh);
  if (!facts) return Failure(facts.error());
  std::string manifest = plan.manifest;
  if (manifest.empty()) {
    ASSIGN_OR_RETURN(manifest, manifest_of_files(store, plan, *facts));
  }
  say(options, "writing manifest");
  return store.commit(name, manifest);
}

}  // namespace

PullOptions with_defaults(PullOptions options) {
  if (options.hf_url.empty()) options.hf_url = "https://huggingface.co";
  return options;
}

PullOptions PullOptions::from_environment() {
  PullOptions options;
  options.registry_url = with_scheme(environment("SPILLWAY_REGISTRY"));
  options.hf_url = with_scheme(environment("HF_ENDPOINT"));
  options.hf_token = kept_hf_token();
  const std::string offline = environment("HF_HUB_OFFLINE");
  options.hf_offline = offline == "1" || offline == "true" || offline == "TRUE" || offline == "yes" || offline == "ON";
  return options;
}

Result<PullPlan> plan_from_hugging_face(const ModelName& name, const PullOptions& options) {
  ASSIGN_OR_RETURN(const HubRepository repository, HubRepository::list(name, options));
  HttpSession session;
  ASSIGN_OR_RETURN(const size_t chosen, repository.choose(session, options));
  ASSIGN_OR_RETURN(std::vector<RemoteFile> files, repository.files_of(chosen));
  PullPlan plan;
  plan.file = repository.candidates()[chosen].path;
  for (RemoteFile& file : files) plan.blobs.push_back(std::move(file.source));
  if (!options.projectors) return plan;
  ASSIGN_OR_RETURN(const auto projector, repository.projector_of(chosen, session, options));
  if (!projector) return plan;
  ASSIGN_OR_RETURN(std::vector<RemoteFile> seeing, repository.files_of(*projector));
  plan.projector_file = repository.candidates()[*projector].path;
  plan.projector_digest = seeing.front().source.digest;
  plan.blobs.push_back(std::move(seeing.front().source));
  return plan;
}

Result<void> pull(std::string_view text, const PullOptions& given) {
  const PullOptions options = with_defaults(given);
  ASSIGN_OR_RETURN(const ModelName name, parse_model_name(text));
  // 1. What there is.
  say(options, "pulling manifest");
  const bool hugging_face = name.is_hugging_face();
  ASSIGN_OR_RETURN(const PullPlan plan,
                   hugging_face ? plan_from_hugging_face(name, options) : plan_from_registry(name, options));
  if (!plan.file.empty()) say(options, "found " + plan.file);
  if (!plan.projector_file.empty()) say(options, "found " + plan.projector_file);
  // 2. Whether it fits.
  ModelStore store(options.own_folder);
  std::vector<std::string> fresh;
  for (const BlobSource& blob : plan.blobs)
    if (!store.has_blob(blob.digest)) fresh.push_back(blob.digest);
  for (const BlobSource& blob : plan.blobs) link_from_elsewhere(store, blob, options.other_folders);
  RETURN_IF_ERROR(check_room(store, plan));
  // 3. The files and, last, the name. A removal meanwhile may have taken a file that was there: once more, then.
  auto outcome = fetch_and_commit(store, name, plan, fresh, options);
  if (!outcome && outcome.error().code() == Code::kChanged)
    outcome = fetch_and_commit(store, name, plan, fresh, options);
  if (outcome) say(options, "success");
  return outcome;
}

}  // namespace spillway
