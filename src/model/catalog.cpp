// SPDX-License-Identifier: MIT
// Finding, listing and describing. What writes is in catalog_write.cpp.
#include "model/catalog.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "base/jinja_text.h"
#include "base/json_reader.h"
#include "base/notice.h"
#include "base/sha256.h"
#include "model/disk_catalog.h"
#include "model/hub_name.h"
#include "model/layer_blob.h"
#include "model/manifest.h"
#include "model/metadata_room.h"
#include "model/modelfile.h"
#include "model/projector_file.h"
#include "model/projector_search.h"
#include "os/home_folder.h"
#include "os/machine.h"

namespace spillway {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr size_t kCachedFilesMax = 4096;
// Of a GGUF's texts where all are shown: the largest vocabularies and their merges have 20 MB.
constexpr uint64_t kShownTextBytesMax = 64ull << 20;
// Of what is kept of files that were looked at, together: templates, above all.
constexpr uint64_t kCachedTextBytesMax = 64ull << 20;
// Of all licenses that are shown of a model.
constexpr uint64_t kLicenseBytesMax = 16ull << 20;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool is_gguf_name(const std::string& name) {
  constexpr std::string_view kSuffix = ".gguf";
  if (name.size() <= kSuffix.size() || name.starts_with('.')) return false;
  std::string ending = name.substr(name.size() - kSuffix.size());
  std::transform(ending.begin(), ending.end(), ending.begin(), [](unsigned char c) { return std::tolower(c); });
  return ending == kSuffix;
}

// The model that `path` is a part of: nothing for a later part, which its first one includes.
std::vector<std::string> files_of_model(const std::string& path) {
  const auto part = gguf_part_name(path);
  return part && part->part > 1 ? std::vector<std::string>() : gguf_parts(path).paths;
}

LocatedModel located_file(std::vector<std::string> files) {
  ModelName name = name_for_gguf(files.front());
  return {.name = std::move(name),
          .source = ModelSource::kPath,
          .store = nullptr,
          .manifest_path = {},
          .files = std::move(files)};
}

std::string json_text(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

std::vector<ModelMessage> parse_messages(const std::string& text) {
  std::vector<ModelMessage> messages;
  const Json json = read_json(text).value_or(Json());
  if (!json.is_array()) return messages;
  for (const Json& one : json)
    if (one.is_object() && messages.size() < kMessagesMax)
      messages.push_back({json_text(one, "role"), json_text(one, "content")});
  return messages;
}

// The content of a stored model's files; what is named by path is as good as its path, size and time.
std::string weights_of(const ReadManifest& read) {
  std::string digests;
  for (const Layer* part : read.manifest.of_kind(LayerKind::kModel)) {
    if (part->digest.empty()) return read.digest;
    digests += part->digest + "\n";
  }
  // With an adapter, or one that sees, they are others.
  for (const Layer* adapter : read.manifest.of_kind(LayerKind::kAdapter)) digests += adapter->digest + "\n";
  for (const Layer* projector : read.manifest.of_kind(LayerKind::kProjector)) digests += projector->digest + "\n";
  return sha256_hex(digests);
}

std::vector<std::string> adapters_of(const LocatedModel& model, const Manifest& manifest) {
  std::vector<std::string> paths;
  if (model.store == nullptr) return paths;
  for (const Layer* layer : manifest.of_kind(LayerKind::kAdapter))
    paths.push_back(model.store->blob_path(layer->digest));
  return paths;
}

// A model of a store has one as a layer, any other one in the same folder.
std::string projector_of_model(const LocatedModel& model, const Manifest& manifest,
                               const std::vector<std::string>& files) {
  if (model.store == nullptr) return find_projector(files.front());
  const Layer* layer = manifest.first(LayerKind::kProjector);
  return layer == nullptr ? "" : model.store->blob_path(layer->digest);
}

constexpr const char* kVocabularyKey = "tokenizer.ggml.tokens";

// Leaves of it what is shown of any array.
std::vector<std::string> take_vocabulary(GgufMetadata& metadata, size_t elements_max) {
  std::vector<std::string> all;
  const auto found = metadata.keys.find(kVocabularyKey);
  if (found == metadata.keys.end() || !found->is_array()) return all;
  for (const Json& token : *found)
    if (token.is_string()) all.push_back(token.get<std::string>());
  if (found->size() > elements_max) *found = Json::array();
  return all;
}

}  // namespace

const char* source_name(ModelSource source) {
  switch (source) {
    case ModelSource::kOwn:
      return "spillway";
    case ModelSource::kPath:
      return "path";
    case ModelSource::kOllama:
      return "ollama";
    case ModelSource::kHubCache:
      return "hugging-face";
    case ModelSource::kLmStudio:
      return "lm-studio";
  }
  return "unknown";
}

ModelName name_for_gguf(const std::string& path) {
  constexpr size_t kPartBytes = std::string_view("-00001-of-00001.gguf").size();
  const bool is_part = gguf_parts(path).paths.size() > 1;
  return name_for_path(is_part ? path.substr(0, path.size() - kPartBytes) : path);
}

CatalogOptions CatalogOptions::from_environment() {
  CatalogOptions options;
  const std::string home = home_folder(), own = environment("SPILLWAY_MODELS"), data = environment("XDG_DATA_HOME"),
                    ollama = environment("OLLAMA_MODELS");
  options.hub_cache_folders = spillway::hub_cache_folders();
  options.lm_studio_folders = spillway::lm_studio_folders();
  options.own_folder = !own.empty()    ? own
                       : !data.empty() ? data + "/spillway/models"
                                       : (home.empty() ? "." : home) + "/.local/share/spillway/models";
  if (!ollama.empty()) {
    options.ollama_folders = {ollama};
    return options;
  }
  if (!home.empty()) options.ollama_folders.push_back(home + "/.ollama/models");
  // Where the system's service keeps its models on Linux.
  options.ollama_folders.emplace_back("/usr/share/ollama/.ollama/models");
  return options;
}

Result<std::unique_ptr<Catalog>> Catalog::open(CatalogOptions options) {
  for (const std::string& path : options.paths) {
    std::error_code ec;
    const fs::file_status status = fs::status(path, ec);
    if (status.type() == fs::file_type::none) return error(Code::kIo, fmt::format("{}: {}", path, ec.message()));
    if (!fs::exists(status)) return error(Code::kNotFound, fmt::format("{}: no such file or folder", path));
    if (!fs::is_directory(status) && !fs::is_regular_file(status))
      return error(Code::kInvalidArgument, fmt::format("{}: is neither a GGUF file nor a folder of them", path));
    if (fs::is_directory(status)) continue;
    if (const GgufParts parts = gguf_parts(path); parts.named != 0)
      return error(Code::kInvalidArgument,
                   fmt::format("{}: is a later part of a split model; name the first: {}", path, parts.paths[0]));
  }
  const bool has_alias = options.alias.has_value();
  auto catalog = std::make_unique<DiskCatalog>(std::move(options));
  if (const size_t count = catalog->count_by_path(); has_alias && count != 1)
    return error(Code::kInvalidArgument,
                 fmt::format("an alias names one model; the paths that were given hold {}", count));
  return catalog;
}

DiskCatalog::DiskCatalog(CatalogOptions options)
    : options_(std::move(options)), own_(options_.own_folder, options_.ollama_folders) {
  for (const std::string& folder : options_.ollama_folders) ollama_.emplace_back(folder);
  own_.remove_dead_drafts();
  if (!options_.tidies) return;
  own_.remove_left_behind();
  if (const std::string caches = cache_folder(); !caches.empty())
    remove_dangling_links(caches + "/views", KeepTimes().unused_s);
}

// ---- where models are ----

std::vector<LocatedModel> DiskCatalog::located_by_path() const {
  std::vector<LocatedModel> models;
  const auto add = [&](const std::string& path) {
    if (auto files = files_of_model(path); !files.empty()) models.push_back(located_file(std::move(files)));
  };
  for (const std::string& path : options_.paths) {
    std::error_code ec;
    if (!fs::is_directory(path, ec)) {
      add(path);
      continue;
    }
    std::vector<std::string> files;
    for (fs::directory_iterator it(path, ec), end; !ec && it != end; it.increment(ec)) {
      const std::string name = it->path().filename().string();
      std::error_code ignored;
      if (is_gguf_name(name) && it->is_regular_file(ignored)) files.push_back(it->path().string());
    }
    std::sort(files.begin(), files.end());
    for (const std::string& file : files) add(file);
  }
  if (options_.alias && models.size() == 1) models.front().name = *options_.alias;
  return models;
}

namespace {

// All repositories of other programs, each with whose it is, in the order in which they are preferred.
std::vector<std::pair<ModelSource, FoundRepository>> repositories_of(const CatalogOptions& options) {
  std::vector<std::pair<ModelSource, FoundRepository>> all;
  for (const std::string& folder : options.hub_cache_folders)
    for (FoundRepository& one : repositories_in_hub_cache(folder))
      all.emplace_back(ModelSource::kHubCache, std::move(one));
  for (const std::string& folder : options.lm_studio_folders)
    for (FoundRepository& one : repositories_in_lm_studio(folder))
      all.emplace_back(ModelSource::kLmStudio, std::move(one));
  return all;
}

LocatedModel located_in(const FoundRepository& repository, ModelSource source,
                        const std::vector<GgufCandidate>& candidates, size_t index) {
  LocatedModel model{
      .name = {.host = "hf.co",
               .name_space = repository.user,
               .model = repository.repository,
               .tag = hub_tag({.wanted = wanted_for(candidates, index), .revision = repository.revision})},
      .source = source,
      .store = nullptr,
      .manifest_path = {},
      .files = {}};
  for (const size_t file : candidates[index].files)
    model.files.push_back(repository.folder + "/" + repository.paths[file]);
  return model;
}

bool same_text(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

}  // namespace

std::vector<LocatedModel> DiskCatalog::located_elsewhere() const {
  std::vector<LocatedModel> models;
  for (const auto& [source, repository] : repositories_of(options_)) {
    const std::vector<GgufCandidate> candidates = gguf_candidates(repository.paths);
    for (size_t i = 0; i < candidates.size(); ++i)
      if (candidates[i].missing_part.empty()) models.push_back(located_in(repository, source, candidates, i));
  }
  return models;
}

KindReader DiskCatalog::kind_reader(const FoundRepository& repository) const {
  return [this, &repository](const GgufCandidate& candidate) -> Result<GgufKind> {
    ASSIGN_OR_RETURN(const auto facts, cache_.facts({repository.folder + "/" + candidate.path}));
    return facts->kind;
  };
}

// As a pull would choose among the same files.
Result<LocatedModel> DiskCatalog::locate_elsewhere(const ModelName& name) const {
  const Failure absent = error(Code::kNotFound, fmt::format("model '{}' not found", name.shown()));
  if (!name.is_hugging_face()) return absent;
  const HubReference asked = hub_reference(name.tag);
  for (const auto& [source, repository] : repositories_of(options_)) {
    if (!same_text(repository.user, name.name_space) || !same_text(repository.repository, name.model) ||
        !repository.is_revision(asked.revision))
      continue;
    const std::vector<GgufCandidate> candidates = gguf_candidates(repository.paths);
    const auto chosen = choose_gguf(candidates, asked.wanted, kind_reader(repository));
    if (chosen) return located_in(repository, source, candidates, *chosen);
  }
  return absent;
}

// In the order in which they are preferred: of one name, the first counts.
std::vector<LocatedModel> DiskCatalog::located(std::optional<Status>& unread) const {
  std::vector<LocatedModel> all;
  const auto add_store = [&](const ModelStore& store, ModelSource source) {
    StoreListing listing = store.list();
    for (StoredModel& model : listing.models)
      all.push_back({.name = std::move(model.name),
                     .source = source,
                     .store = &store,
                     .manifest_path = std::move(model.manifest_path),
                     .files = {}});
    return std::move(listing.unread);
  };
  unread = add_store(own_, ModelSource::kOwn);
  for (LocatedModel& model : located_by_path()) all.push_back(std::move(model));
  for (const ModelStore& store : ollama_) add_store(store, ModelSource::kOllama);
  for (LocatedModel& model : located_elsewhere()) all.push_back(std::move(model));

  std::vector<LocatedModel> unique;
  std::set<std::string> names;
  for (LocatedModel& model : all) {
    std::string key = model.name.full();
    std::transform(key.begin(), key.end(), key.begin(), [](unsigned char c) { return std::tolower(c); });
    if (names.insert(key).second) unique.push_back(std::move(model));
  }
  return unique;
}

Result<LocatedModel> DiskCatalog::locate(std::string_view text) const {
  ASSIGN_OR_RETURN(const ModelName name, parse_model_name(text));
  const auto located_as = [](StoredModel& found, const ModelStore& store, ModelSource source) {
    return LocatedModel{.name = std::move(found.name),
                        .source = source,
                        .store = &store,
                        .manifest_path = std::move(found.manifest_path),
                        .files = {}};
  };
  auto own = own_.find(name);
  if (own && *own) return located_as(**own, own_, ModelSource::kOwn);
  for (LocatedModel& model : located_by_path())
    if (same_name(model.name, name)) return model;
  // Ollama's store is often one of the system's, which only its own user can read.
  for (const ModelStore& store : ollama_)
    if (auto found = store.find(name); found && *found) return located_as(**found, store, ModelSource::kOllama);
  if (auto found = locate_elsewhere(name)) return *found;
  if (!own) return Failure(own.error());  // it may be there
  return error(Code::kNotFound, fmt::format("model '{}' not found", text));
}

// ---- what they are ----

Result<ReadManifest> DiskCatalog::read_manifest(const LocatedModel& model) const {
  ReadManifest read;
  if (model.store == nullptr) {
    Sha256 hash;
    for (const std::string& path : model.files) {
      ASSIGN_OR_RETURN(const FileIdentity identity, identify_file(path));
      hash.add(fmt::format("{}\n{}\n{}\n{}\n", path, identity.inode, identity.bytes, identity.modified_ns));
      read.modified_ns = std::max(read.modified_ns, identity.modified_ns);
      read.manifest.layers.push_back(
          {.media_type = media_type_of(LayerKind::kModel), .digest = {}, .size_bytes = identity.bytes, .from = {}});
    }
    read.digest = hash.hex();
    return read;
  }
  ASSIGN_OR_RETURN(const std::string text, read_text_file(model.manifest_path, kManifestBytesMax));
  auto manifest = parse_manifest(text);
  if (!manifest) return Failure(manifest.error().with_context(model.manifest_path));
  read.manifest = std::move(*manifest);
  read.digest = sha256_hex(text);
  ASSIGN_OR_RETURN(const FileIdentity identity, identify_file(model.manifest_path));
  read.modified_ns = identity.modified_ns;
  return read;
}

namespace {

bool is_about_writing(const Status& failure) {
  return failure.code() == Code::kPermissionDenied || failure.code() == Code::kDiskFull || failure.code() == Code::kIo;
}

}  // namespace

Result<std::vector<std::string>> DiskCatalog::files_of(const LocatedModel& model, const Manifest& manifest) const {
  if (model.store == nullptr) return model.files;
  auto paths = model.store->gguf_paths(manifest, options_.own_folder + "/views");
  // A store that takes no links, as a read-only one or another user's, has them among this user's caches.
  if (const std::string caches = cache_folder(); !paths && !caches.empty() && is_about_writing(paths.error()))
    if (auto elsewhere = model.store->gguf_paths(manifest, caches + "/views")) return elsewhere;
  if (!paths) return Failure(paths.error().with_context(model.name.shown()));
  return paths;
}

Result<std::shared_ptr<const GgufFacts>> FactsCache::facts(const std::vector<std::string>& paths) {
  std::string key;
  for (const std::string& path : paths) {
    ASSIGN_OR_RETURN(const FileIdentity identity, identify_file(path));
    key += fmt::format("{}:{}:{}:{} ", identity.device, identity.inode, identity.bytes, identity.modified_ns);
  }
  {
    const MutexLock lock(mutex_);
    if (const auto found = facts_.find(key); found != facts_.end()) return found->second;
  }
  ASSIGN_OR_RETURN(GgufFacts read, facts_of_files(paths));
  auto facts = std::make_shared<const GgufFacts>(std::move(read));
  const MutexLock lock(mutex_);
  const uint64_t text_bytes = facts->chat_template.size() + key.size();
  if (facts_.size() >= kCachedFilesMax || facts_text_bytes_ + text_bytes > kCachedTextBytesMax) {
    facts_.clear();
    facts_text_bytes_ = 0;
  }
  if (facts_.emplace(key, facts).second) facts_text_bytes_ += text_bytes;
  return facts;
}

// Each request for its model asks, and its metadata may be long.
bool FactsCache::may_fit(const std::string& path, uint64_t n_embd) {
  const auto identity = identify_file(path);
  if (!identity) return false;
  const std::string key = fmt::format("{}.{} {}", identity->device, identity_key(*identity), n_embd);
  {
    const MutexLock lock(mutex_);
    if (const auto found = fits_.find(key); found != fits_.end()) return found->second;
  }
  if (!open_file(path, {.direct = false})) return false;  // for now, say for want of descriptors: that is not kept
  const bool fits = may_fit_model(path, n_embd);
  const MutexLock lock(mutex_);
  if (fits_.size() >= kCachedFilesMax) fits_.clear();
  fits_[key] = fits;
  return fits;
}

TemplateAbilities FactsCache::abilities(const std::string& text, const TemplateReader& read) {
  {
    const MutexLock lock(mutex_);
    for (;;) {
      if (const auto found = abilities_.find(text); found != abilities_.end()) return found->second;
      if (being_read_.insert(text).second) break;
      was_read_.wait(mutex_);
    }
  }
  const auto finish = [&](const TemplateAbilities* can) {
    const MutexLock lock(mutex_);
    being_read_.erase(text);
    was_read_.notify_all();
    if (can == nullptr || !can->is_known) return;
    if (abilities_.size() >= kCachedFilesMax || abilities_text_bytes_ + text.size() > kCachedTextBytesMax) {
      abilities_.clear();
      abilities_text_bytes_ = 0;
    }
    if (abilities_.emplace(text, *can).second) abilities_text_bytes_ += text.size();
  };
  try {
    const TemplateAbilities can = read(text);
    finish(&can);
    return can;
  } catch (...) {
    finish(nullptr);
    throw;
  }
}

Result<ModelExtras> DiskCatalog::extras_of(const LocatedModel& model, const ReadManifest& read) const {
  ModelExtras extras;
  if (model.store != nullptr) {
    const auto text_of = [&](LayerKind kind) -> Result<std::string> {
      const Layer* layer = read.manifest.first(kind);
      if (layer == nullptr) return std::string();
      return read_layer(*model.store, *layer);
    };
    ASSIGN_OR_RETURN(extras.template_text, text_of(LayerKind::kTemplate));
    ASSIGN_OR_RETURN(extras.system, text_of(LayerKind::kSystem));
    ASSIGN_OR_RETURN(const std::string messages, text_of(LayerKind::kMessages));
    extras.messages = parse_messages(messages);
    ASSIGN_OR_RETURN(const std::string parameters, text_of(LayerKind::kParameters));
    extras.parameters = usable_parameters(read_json(parameters).value_or(Json()));
    uint64_t license_bytes = 0;
    for (const Layer* layer : read.manifest.of_kind(LayerKind::kLicense)) {
      ASSIGN_OR_RETURN(std::string license, read_layer(*model.store, *layer));
      if ((license_bytes += license.size()) > kLicenseBytesMax) break;
      extras.licenses.push_back(std::move(license));
    }
    extras.adapter_paths = adapters_of(model, read.manifest);
    if (!read.manifest.config.digest.empty()) {
      ASSIGN_OR_RETURN(const std::string text, read_layer(*model.store, read.manifest.config));
      ModelConfig config = parse_config(text);
      extras.renderer = std::move(config.renderer);
      extras.parser = std::move(config.parser);
      extras.requires_version = std::move(config.requires_version);
    }
  }
  ASSIGN_OR_RETURN(const auto files, files_of(model, read.manifest));
  extras.projector_path = projector_of_model(model, read.manifest, files);
  if (extras.template_text.empty()) {
    ASSIGN_OR_RETURN(const auto facts, cache_.facts(files));
    extras.template_text = facts->chat_template;
    extras.template_is_gguf = !extras.template_text.empty();
  }
  return extras;
}

Result<void> DiskCatalog::check_is_model(const LocatedModel& model) const {
  if (model.store != nullptr) return {};
  ASSIGN_OR_RETURN(const auto facts, cache_.facts(model.files));
  if (facts->kind == GgufKind::kModel) return {};
  return error(Code::kUnsupported,
               fmt::format("{}: is {}, and no model on its own", model.files.front(), kind_phrase(facts->kind)));
}

Result<ModelEntry> DiskCatalog::entry_of(const LocatedModel& model, const ReadManifest& read) const {
  ASSIGN_OR_RETURN(const auto files, files_of(model, read.manifest));
  ASSIGN_OR_RETURN(const auto facts, cache_.facts(files));
  ModelConfig config;
  std::string layer_template;
  if (model.store != nullptr) {
    if (!read.manifest.config.digest.empty()) {
      ASSIGN_OR_RETURN(const std::string text, read_layer(*model.store, read.manifest.config));
      config = parse_config(text);
    }
    if (const Layer* layer = read.manifest.first(LayerKind::kTemplate)) {
      ASSIGN_OR_RETURN(layer_template, read_layer(*model.store, *layer));
    }
  }
  // Beside a renderer, which is code of Ollama's, the layer is a stand-in.
  if (!config.renderer.empty() && !is_jinja(layer_template)) layer_template.clear();
  const Layer* weights = read.manifest.first(LayerKind::kModel);
  const auto known = [](const std::string& said, const std::string& found) { return said.empty() ? found : said; };
  ModelEntry entry;
  entry.name = model.name;
  entry.digest = read.digest;
  entry.weights = weights_of(read);
  entry.size_bytes = read.manifest.size_bytes();
  entry.modified_ns = read.modified_ns;
  entry.details = {.parent_model = weights == nullptr ? "" : weights->from,
                   .format = known(config.format, "gguf"),
                   .family = known(config.family, facts->architecture),
                   .families = config.families,
                   .parameter_size = known(config.parameter_size, facts->parameter_size),
                   .quantization_level = known(config.quantization, facts->quantization_level),
                   .context_length = facts->context_length,
                   .embedding_length = facts->embedding_length};
  if (entry.details.families.empty()) entry.details.families = {entry.details.family};
  entry.projector_path = projector_of_model(model, read.manifest, files);
  const auto abilities = [this](const std::string& text) {
    return cache_.abilities(text, options_.read_template ? options_.read_template : guessed_abilities);
  };
  // What a load would go without is not announced.
  const bool sees = !entry.projector_path.empty() && cache_.may_fit(entry.projector_path, facts->embedding_length);
  entry.capabilities = capabilities_of(*facts, layer_template, abilities, sees);
  entry.source = model.source;
  entry.path = files.front();
  entry.adapter_paths = adapters_of(model, read.manifest);
  return entry;
}

Result<ModelEntry> DiskCatalog::model_entry(const LocatedModel& model) const {
  RETURN_IF_ERROR(check_is_model(model));
  ASSIGN_OR_RETURN(const ReadManifest read, read_manifest(model));
  return entry_of(model, read);
}

Result<std::vector<ModelEntry>> DiskCatalog::list() const {
  std::vector<ModelEntry> entries;
  std::optional<Status> unread;
  for (const LocatedModel& model : located(unread)) {
    auto entry = model_entry(model);
    if (entry) entries.push_back(std::move(*entry));
    // Neither what was removed since it was found, nor what Ollama has for other engines.
    else if (entry.error().code() != Code::kNotFound && entry.error().code() != Code::kUnsupported)
      notice(fmt::format("left out of the list: {}", entry.error().message()));
  }
  if (unread && entries.empty()) return Failure(*unread);
  if (unread) notice(fmt::format("left out of the list: {}", unread->message()));
  std::sort(entries.begin(), entries.end(), [](const ModelEntry& a, const ModelEntry& b) {
    return a.modified_ns != b.modified_ns ? a.modified_ns > b.modified_ns : a.name.full() < b.name.full();
  });
  return entries;
}

Result<ModelEntry> DiskCatalog::find(std::string_view name) const {
  ASSIGN_OR_RETURN(const LocatedModel model, locate(name));
  return model_entry(model);
}

Result<ModelExtras> DiskCatalog::extras(std::string_view name) const {
  ASSIGN_OR_RETURN(const LocatedModel model, locate(name));
  ASSIGN_OR_RETURN(const ReadManifest read, read_manifest(model));
  return extras_of(model, read);
}

Result<ModelDescription> DiskCatalog::describe(std::string_view name, bool verbose) const {
  ASSIGN_OR_RETURN(const LocatedModel model, locate(name));
  ASSIGN_OR_RETURN(const ReadManifest read, read_manifest(model));
  ModelDescription description;
  ASSIGN_OR_RETURN(description.entry, entry_of(model, read));
  ASSIGN_OR_RETURN(description.extras, extras_of(model, read));

  ASSIGN_OR_RETURN(const auto files, files_of(model, read.manifest));
  ASSIGN_OR_RETURN(const auto facts, cache_.facts(files));
  description.file_template = facts->chat_template;
  const bool has_vocabulary = facts->chat_template.empty();
  // As values, once more as JSON of a protocol, and as its text.
  const uint64_t kept_bytes = verbose || has_vocabulary
                                  ? facts->memory_bytes
                                  : std::min(facts->memory_bytes, GgufMetadataOptions().text_bytes_max);
  description.room = std::make_shared<const MetadataRoom>(MetadataRoom::Use::kShow, 4 * kept_bytes);
  uint64_t n_params = 0;
  for (size_t i = 0; i < files.size(); ++i) {
    ASSIGN_OR_RETURN(const auto file, open_file(files[i], {.direct = false}));
    GgufMetadataOptions options{.tensors = verbose};
    if (verbose) options.array_elements_max = SIZE_MAX;
    if (verbose || has_vocabulary) options.text_bytes_max = kShownTextBytesMax;
    if (i == 0 && has_vocabulary) options.whole_array = kVocabularyKey;
    ASSIGN_OR_RETURN(GgufMetadata metadata, read_gguf_metadata(*file, options));
    if (!options.whole_array.empty()) description.vocabulary = take_vocabulary(metadata, options.array_elements_max);
    if (__builtin_add_overflow(n_params, metadata.n_params, &n_params)) n_params = UINT64_MAX;
    if (i == 0) description.model_info = std::move(metadata.keys);
    for (GgufTensorFacts& tensor : metadata.tensors)
      description.tensors.push_back({std::move(tensor.name), std::move(tensor.type), std::move(tensor.shape)});
  }
  if (const std::string& path = description.entry.projector_path; !path.empty()) {
    const auto file = open_file(path, {.direct = false});
    auto metadata = file ? read_gguf_metadata(**file) : Failure(file.error());
    if (metadata) description.projector_info = std::move(metadata->keys);
  }
  description.model_info.erase("general.name");
  description.model_info.erase("tokenizer.chat_template");
  description.model_info["general.parameter_count"] = n_params;
  description.parameters_text = parameters_text(description.extras.parameters);
  description.modelfile = modelfile_text(description.entry.path, description.extras);
  return description;
}

}  // namespace spillway
