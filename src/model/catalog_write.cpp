// SPDX-License-Identifier: MIT
// Removing, copying and making models. Every one of them ends in ModelStore::commit() or remove(): until then nothing
// that has a name has changed.
#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <filesystem>
#include <functional>

#include "base/bytes.h"
#include "base/json_reader.h"
#include "base/json_writer.h"
#include "base/sha256.h"
#include "model/adapter_file.h"
#include "model/disk_catalog.h"
#include "model/gguf_model.h"
#include "model/layer_blob.h"
#include "model/model_files.h"
#include "model/modelfile.h"
#include "model/projector_file.h"
#include "model/projector_search.h"
#include "os/folder.h"

namespace spillway {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kCopyBytes = 1 << 20;
constexpr size_t kLicensesMax = 1000;

Result<std::string> checked_digest(std::string_view text) {
  auto digest = parse_digest(text);
  if (!digest)
    return error(Code::kInvalidArgument,
                 fmt::format("invalid digest '{}': it is \"sha256:\" and 64 hex digits", text.substr(0, 80)));
  return std::move(*digest);
}

void say(const StatusSink& status, const std::string& sentence) {
  if (status) status(sentence);
}

std::string messages_text(const std::vector<ModelMessage>& messages) {
  Json json = Json::array();
  for (const ModelMessage& message : messages) json.push_back({{"role", message.role}, {"content", message.content}});
  return write_json(json);
}

// Calls `take` with all of the file, in order.
template <typename Take>
Result<void> read_whole(const File& file, const Take& take) {
  std::vector<char> piece(kCopyBytes);
  for (uint64_t at = 0; at < file.size_bytes();) {
    ASSIGN_OR_RETURN(const uint64_t got, file.read_at(at, std::as_writable_bytes(std::span(piece))));
    if (got == 0) return error(Code::kChanged, fmt::format("{}: became shorter while it was read", file.path()));
    RETURN_IF_ERROR(take(std::string_view(piece.data(), got)));
    at += got;
  }
  return file.check_unchanged();
}

Result<std::string> digest_of(const File& file) {
  Sha256 hash;
  RETURN_IF_ERROR(read_whole(file, [&](std::string_view piece) -> Result<void> {
    hash.add(piece);
    return {};
  }));
  return "sha256:" + hash.hex();
}

// What could not be read again is not written.
Result<void> check_text(size_t bytes) {
  if (bytes <= kManifestBytesMax) return {};
  return error(Code::kInvalidArgument, fmt::format("a text of {} is too long: a model's template, system prompt, "
                                                   "parameters, messages and licenses are at most {} each",
                                                   format_bytes(bytes), format_bytes(kManifestBytesMax)));
}

Result<void> check_texts(const CreateRequest& request) {
  RETURN_IF_ERROR(check_text(request.template_text.value_or("").size()));
  RETURN_IF_ERROR(check_text(request.system.value_or("").size()));
  if (request.messages && request.messages->size() > kMessagesMax)
    return error(Code::kInvalidArgument, fmt::format("a model has at most {} messages", kMessagesMax));
  if (request.messages) RETURN_IF_ERROR(check_text(messages_text(*request.messages).size()));
  RETURN_IF_ERROR(check_text(write_json(request.parameters).size()));
  if (!request.licenses) return {};
  for (const std::string& license : *request.licenses) RETURN_IF_ERROR(check_text(license.size()));
  if (request.licenses->size() <= kLicensesMax) return {};
  return error(Code::kInvalidArgument, fmt::format("more than {} licenses", kLicensesMax));
}

// Before it is copied: whether it is a model at all, and all of its weights are there.
Result<void> check_model_files(const std::vector<std::string>& paths) {
  ASSIGN_OR_RETURN(const GgufFacts facts, facts_of_files(paths));
  if (const auto is_model = check_is_model(facts); !is_model)
    return Failure(is_model.error().with_context(paths.front()));
  RETURN_IF_ERROR(open_gguf_model(paths.front(), {.direct = false}));
  return {};
}

void drop_kind(std::vector<Layer>& layers, LayerKind kind) {
  layers.erase(std::remove_if(layers.begin(), layers.end(), [&](const Layer& one) { return one.kind() == kind; }),
               layers.end());
}

}  // namespace

// What was put into our store for a model that did not come about goes again.
struct DiskCatalog::NewBlobs {
  explicit NewBlobs(const ModelStore& to) : store(to) {}
  ~NewBlobs() {
    // What is thrown out of here ends the process: without memory they stay.
    try {
      store.remove_unused(digests);
    } catch (const std::exception&) {
      // As what a killed process leaves.
    }
  }
  NewBlobs(const NewBlobs&) = delete;
  NewBlobs& operator=(const NewBlobs&) = delete;

  const ModelStore& store;
  std::vector<std::string> digests;
};

Result<void> DiskCatalog::remove(std::string_view name) {
  ASSIGN_OR_RETURN(const LocatedModel model, locate(name));
  if (model.source == ModelSource::kOllama)
    return error(Code::kPermissionDenied,
                 fmt::format("model '{}' is in Ollama's store, which is only read; remove it with 'ollama rm'", name));
  if (model.source == ModelSource::kHubCache)
    return error(
        Code::kPermissionDenied,
        fmt::format("model '{}' is in Hugging Face's cache, which is only read; remove it with 'hf cache rm'", name));
  if (model.source == ModelSource::kLmStudio)
    return error(Code::kPermissionDenied,
                 fmt::format("model '{}' is in LM Studio's folder, which is only read; remove it there", name));
  if (model.source == ModelSource::kPath)
    return error(Code::kPermissionDenied, fmt::format("model '{}' is the file {}; remove that", name, model.files[0]));
  return own_.remove(model.name);
}

// ---- blobs ----

Result<bool> DiskCatalog::has_blob(std::string_view text) const {
  ASSIGN_OR_RETURN(const std::string digest, checked_digest(text));
  return own_.has_blob(digest) && is_whole_blob(own_.blob_path(digest), digest);
}

Result<std::unique_ptr<BlobWriter>> DiskCatalog::write_blob(std::string_view text) {
  ASSIGN_OR_RETURN(const std::string digest, checked_digest(text));
  return own_.write_blob(digest);
}

// A blob of Ollama's store becomes ours too, so that 'ollama rm' does not take it away. Across file systems that would
// be a copy of the whole model: there it is used where it is.
Result<void> DiskCatalog::keep_blob(const std::string& digest, NewBlobs& added) const {
  const std::string own = own_.own_blob_path(digest), found = own_.blob_path(digest);
  if (own == found) return {};
  std::error_code ec;
  std::filesystem::create_directories(std::filesystem::path(own).parent_path(), ec);
  // Not a link to a link: the blob itself.
  const auto target = std::filesystem::canonical(found, ec);
  try_hard_link(ec ? found : target.string(), own);
  if (std::filesystem::exists(own, ec)) added.digests.push_back(digest);
  return {};
}

Result<Layer> DiskCatalog::layer_of_blob(const std::string& digest, LayerKind kind) const {
  const auto identity = identify_file(own_.blob_path(digest));
  if (!identity) return error(Code::kNotFound, fmt::format("blob {} not found; upload it first", digest));
  return Layer{.media_type = media_type_of(kind), .digest = digest, .size_bytes = identity->bytes, .from = {}};
}

Result<Layer> DiskCatalog::text_layer(LayerKind kind, const std::string& text, NewBlobs& added,
                                      const StatusSink& status) {
  RETURN_IF_ERROR(check_text(text.size()));
  const bool is_new = !own_.has_blob("sha256:" + sha256_hex(text));
  ASSIGN_OR_RETURN(const std::string digest, own_.add_blob(text));
  if (is_new) added.digests.push_back(digest);
  say(status, fmt::format("creating new layer {}", digest));
  return layer_of_blob(digest, kind);
}

// What the store has is taken as it is: a blob, as a Modelfile of "show" names it, or a file with a blob's content.
// Where the file system lets two names have one content, nothing is copied; only read, for the blob's name. Else it is
// copied in one pass: the copy's name is known when all of it was read.
Result<Layer> DiskCatalog::import_file(const std::string& path, NewBlobs& added, const StatusSink& status) {
  std::error_code ec;
  const auto known = parse_digest(std::filesystem::path(path).filename().string());
  if (known && std::filesystem::equivalent(own_.blob_path(*known), path, ec)) {
    RETURN_IF_ERROR(keep_blob(*known, added));
    say(status, fmt::format("using existing layer {}", *known));
    return layer_of_blob(*known, LayerKind::kModel);
  }
  ASSIGN_OR_RETURN(const auto file, open_file(path, {.direct = false}));
  std::string digest;
  if (own_.has_blob_of_size(file->size_bytes()) || own_.can_adopt(path)) {
    say(status, fmt::format("reading {}", path));
    ASSIGN_OR_RETURN(digest, digest_of(*file));
    const std::string blob = own_.blob_path(digest);
    const auto there = identify_file(blob);
    if (there && there->bytes == file->size_bytes() && is_whole_blob(blob, digest)) {
      RETURN_IF_ERROR(keep_blob(digest, added));
      say(status, fmt::format("using existing layer {}", digest));
      return layer_of_blob(digest, LayerKind::kModel);
    }
  }
  bool adopted = false;
  if (!digest.empty()) {
    ASSIGN_OR_RETURN(adopted, own_.adopt_blob(*file, digest));
  }
  if (!adopted) {
    const std::string folder = weights_folder(options_.own_folder);
    ASSIGN_OR_RETURN(const uint64_t free_bytes, disk_bytes_free(folder));
    if (free_bytes < file->size_bytes())
      return error(Code::kDiskFull, fmt::format("{}: {} needed for a copy, {} free", folder,
                                                format_bytes(file->size_bytes()), format_bytes(free_bytes)));
    say(status, fmt::format("copying {}", path));
    ASSIGN_OR_RETURN(const std::unique_ptr<BlobWriter> writer, own_.write_blob(""));
    RETURN_IF_ERROR(read_whole(*file, [&](std::string_view piece) { return writer->write(piece); }));
    ASSIGN_OR_RETURN(digest, writer->finish());
  }
  added.digests.push_back(digest);
  RETURN_IF_ERROR(file->check_unchanged());
  say(status, fmt::format("creating new layer {}", digest));
  return layer_of_blob(digest, LayerKind::kModel);
}

Result<std::vector<Layer>> DiskCatalog::layers_of(const LocatedModel& model, NewBlobs& added,
                                                  const StatusSink& status) {
  std::vector<Layer> layers;
  if (model.store == nullptr) {
    RETURN_IF_ERROR(check_model_files(model.files));
    for (const std::string& path : model.files) {
      ASSIGN_OR_RETURN(Layer layer, import_file(path, added, status));
      layers.push_back(std::move(layer));
    }
    RETURN_IF_ERROR(add_projector_beside(model.files.front(), added, status, layers));
    return layers;
  }
  ASSIGN_OR_RETURN(const ReadManifest read, read_manifest(model));
  for (const Layer& layer : read.manifest.layers) {
    RETURN_IF_ERROR(check_layer(*model.store, layer));
    RETURN_IF_ERROR(keep_blob(layer.digest, added));
    layers.push_back(layer);
  }
  return layers;
}

// ---- copy ----

Result<void> DiskCatalog::copy(std::string_view source, std::string_view destination) {
  ASSIGN_OR_RETURN(const ModelName target, parse_model_name(destination));
  ASSIGN_OR_RETURN(const LocatedModel model, locate(source));
  if (model.store == nullptr) {
    CreateRequest request;
    request.gguf_path = model.files.front();
    return create(destination, request, {});
  }
  if (model.source == ModelSource::kOwn && same_name(model.name, target)) return {};
  ASSIGN_OR_RETURN(const ReadManifest read, read_manifest(model));
  // Under the other name there may be one that works.
  if (!read.manifest.config.digest.empty()) RETURN_IF_ERROR(check_layer(*model.store, read.manifest.config));
  for (const Layer& layer : read.manifest.layers) RETURN_IF_ERROR(check_layer(*model.store, layer));
  NewBlobs added(own_);
  for (const std::string& digest : read.manifest.digests()) RETURN_IF_ERROR(keep_blob(digest, added));
  // As it is, byte for byte: a copy has the digest of its source.
  ASSIGN_OR_RETURN(const std::string text, read_text_file(model.manifest_path));
  return own_.commit(target, text);
}

// ---- create ----

Result<std::vector<Layer>> DiskCatalog::base_layers(const CreateRequest& request, ModelConfig& config, NewBlobs& added,
                                                    const StatusSink& status) {
  std::vector<Layer> layers;
  if (!request.from.empty()) {
    ASSIGN_OR_RETURN(const LocatedModel model, locate(request.from));
    ASSIGN_OR_RETURN(layers, layers_of(model, added, status));
    for (Layer& layer : layers) {
      say(status, fmt::format("using existing layer {}", layer.digest));
      if (layer.kind() == LayerKind::kModel) layer.from = model.name.shown();
    }
    if (model.store == nullptr) return layers;
    ASSIGN_OR_RETURN(const ReadManifest read, read_manifest(model));
    if (read.manifest.config.digest.empty()) return layers;
    ASSIGN_OR_RETURN(const std::string text, read_layer(*model.store, read.manifest.config));
    config = parse_config(text);
    return layers;
  }
  if (!request.gguf_path.empty()) {
    if (const GgufParts parts = gguf_parts(request.gguf_path); parts.named != 0)
      return error(Code::kInvalidArgument, fmt::format("{}: is a later part of a split model; name the first: {}",
                                                       request.gguf_path, parts.paths[0]));
    const std::vector<std::string> files = gguf_parts(request.gguf_path).paths;
    say(status, "parsing GGUF");
    RETURN_IF_ERROR(check_model_files(files));
    for (const std::string& path : files) {
      ASSIGN_OR_RETURN(Layer layer, import_file(path, added, status));
      layers.push_back(std::move(layer));
    }
    if (request.projector.empty()) RETURN_IF_ERROR(add_projector_beside(files.front(), added, status, layers));
    return layers;
  }
  // Uploaded blobs, the parts of a split model in the order of their names.
  auto blobs = request.blobs;
  std::sort(blobs.begin(), blobs.end());
  say(status, "parsing GGUF");
  if (blobs.size() > kLayersMax) return error(Code::kInvalidArgument, fmt::format("more than {} files", kLayersMax));
  GgufTotals totals;
  for (const auto& [file_name, text] : blobs) {
    ASSIGN_OR_RETURN(const std::string digest, checked_digest(text));
    ASSIGN_OR_RETURN(Layer layer, layer_of_blob(digest, LayerKind::kModel));
    ASSIGN_OR_RETURN(const auto file, open_file(own_.blob_path(digest), {.direct = false}));
    ASSIGN_OR_RETURN(const GgufMetadata metadata, read_gguf_metadata(*file));
    RETURN_IF_ERROR(totals.add(file->path(), metadata));
    if (kind_of(metadata) == GgufKind::kProjector) layer.media_type = media_type_of(LayerKind::kProjector);
    if (kind_of(metadata) == GgufKind::kAdapter)
      return error(Code::kInvalidArgument,
                   fmt::format("{}: is a LoRA adapter, which goes into 'adapters'", file_name.substr(0, 80)));
    RETURN_IF_ERROR(keep_blob(digest, added));
    say(status, fmt::format("using existing layer {}", digest));
    layers.push_back(std::move(layer));
  }
  if (std::none_of(layers.begin(), layers.end(), [](const Layer& one) { return one.kind() == LayerKind::kModel; }))
    return error(Code::kInvalidArgument,
                 fmt::format("{}: is {}, and no model on its own; send the model's file, too",
                             blobs.front().first.substr(0, 80), kind_phrase(GgufKind::kProjector)));
  return layers;
}

ModelFiles DiskCatalog::files_of_layers(const Manifest& manifest) const {
  const auto paths_of = [&](LayerKind kind) {
    std::vector<std::string> paths;
    for (const Layer* layer : manifest.of_kind(kind)) paths.push_back(own_.blob_path(layer->digest));
    return paths;
  };
  return {.parts = paths_of(LayerKind::kModel),
          .adapters = paths_of(LayerKind::kAdapter),
          .projectors = paths_of(LayerKind::kProjector)};
}

// Held against the model before the manifest names them.
Result<std::vector<Layer>> DiskCatalog::adapter_layers(const CreateRequest& request, const GgufModel& model,
                                                       NewBlobs& added, const StatusSink& status) {
  RETURN_IF_ERROR(check_adapter_count(request.adapter_paths.size() + request.adapter_blobs.size()));
  std::vector<Layer> layers;
  for (const std::string& path : request.adapter_paths) {
    RETURN_IF_ERROR(open_adapter_file(path, model));
    ASSIGN_OR_RETURN(Layer layer, import_file(path, added, status));
    layers.push_back(std::move(layer));
  }
  for (const auto& [file_name, text] : request.adapter_blobs) {
    ASSIGN_OR_RETURN(const std::string digest, checked_digest(text));
    ASSIGN_OR_RETURN(Layer layer, layer_of_blob(digest, LayerKind::kAdapter));
    if (const auto file = open_adapter_file(own_.blob_path(digest), model); !file)
      return error(file.error().code(), fmt::format("adapter {}: {}", file_name.substr(0, 80), file.error().message()));
    RETURN_IF_ERROR(keep_blob(digest, added));
    say(status, fmt::format("using existing layer {}", digest));
    layers.push_back(std::move(layer));
  }
  for (Layer& layer : layers) layer.media_type = media_type_of(LayerKind::kAdapter);
  return layers;
}

Result<Layer> DiskCatalog::projector_layer(const std::string& wanted, NewBlobs& added, const StatusSink& status) {
  Layer layer;
  if (wanted.starts_with('@')) {
    ASSIGN_OR_RETURN(const std::string digest, checked_digest(wanted.substr(1)));
    ASSIGN_OR_RETURN(layer, layer_of_blob(digest, LayerKind::kProjector));
    RETURN_IF_ERROR(open_projector_file(own_.blob_path(digest)));
    RETURN_IF_ERROR(keep_blob(digest, added));
    say(status, fmt::format("using existing layer {}", digest));
    return layer;
  }
  RETURN_IF_ERROR(open_projector_file(wanted));
  ASSIGN_OR_RETURN(layer, import_file(wanted, added, status));
  layer.media_type = media_type_of(LayerKind::kProjector);
  return layer;
}

// One that was not asked for and can not be used is left where it is.
Result<void> DiskCatalog::add_projector_beside(const std::string& path, NewBlobs& added, const StatusSink& status,
                                               std::vector<Layer>& layers) {
  const std::string found = find_projector(path);
  if (found.empty() || !open_projector_file(found)) return {};
  ASSIGN_OR_RETURN(Layer layer, projector_layer(found, added, status));
  layers.push_back(std::move(layer));
  return {};
}

Result<void> DiskCatalog::create(std::string_view name, const CreateRequest& request, const StatusSink& status) {
  // 1. All that can be refused without having written anything.
  ASSIGN_OR_RETURN(const ModelName target, parse_model_name(name));
  RETURN_IF_ERROR(check_parameters(request.parameters));
  RETURN_IF_ERROR(check_texts(request));
  if (request.from.empty() && request.blobs.empty() && request.gguf_path.empty())
    return error(Code::kInvalidArgument, "neither 'from' or 'files' was specified");

  // 2. The files.
  ModelConfig config;
  Manifest manifest;
  NewBlobs added(own_);
  ASSIGN_OR_RETURN(manifest.layers, base_layers(request, config, added, status));
  ASSIGN_OR_RETURN(const CheckedModel made_of, check_model_parts(target.shown(), files_of_layers(manifest).parts));

  if (!request.projector.empty()) {
    drop_kind(manifest.layers, LayerKind::kProjector);
    if (request.projector != kNoProjector) {
      ASSIGN_OR_RETURN(Layer layer, projector_layer(request.projector, added, status));
      manifest.layers.push_back(std::move(layer));
    }
  }
  if (!request.adapter_paths.empty() || !request.adapter_blobs.empty()) {
    // Beside those of the base, which would be another without them, as in Ollama. One that it has is not added again.
    ASSIGN_OR_RETURN(std::vector<Layer> adapters, adapter_layers(request, made_of.gguf, added, status));
    for (Layer& adapter : adapters) {
      const auto held = manifest.of_kind(LayerKind::kAdapter);
      const auto is_it = [&](const Layer* layer) { return layer->digest == adapter.digest; };
      if (std::none_of(held.begin(), held.end(), is_it)) manifest.layers.push_back(std::move(adapter));
    }
  }

  RETURN_IF_ERROR(check_beside(made_of.gguf, files_of_layers(manifest)));

  // 3. What goes with them. An empty text takes the old one away.
  const auto replace_text = [&](LayerKind kind, const std::optional<std::string>& text) -> Result<void> {
    if (!text) return {};
    drop_kind(manifest.layers, kind);
    if (text->empty()) return {};
    ASSIGN_OR_RETURN(Layer layer, text_layer(kind, *text, added, status));
    manifest.layers.push_back(std::move(layer));
    return {};
  };
  RETURN_IF_ERROR(replace_text(LayerKind::kTemplate, request.template_text));
  RETURN_IF_ERROR(replace_text(LayerKind::kSystem, request.system));
  if (request.messages)
    RETURN_IF_ERROR(replace_text(LayerKind::kMessages,
                                 request.messages->empty() ? std::string() : messages_text(*request.messages)));
  if (!request.parameters.empty()) {
    Json parameters = Json::object();
    if (const Layer* layer = manifest.first(LayerKind::kParameters)) {
      ASSIGN_OR_RETURN(const std::string text, read_layer(own_, *layer));
      parameters = usable_parameters(read_json(text).value_or(Json()));
    }
    for (const auto& [key, value] : request.parameters.items()) parameters[key] = value;
    RETURN_IF_ERROR(check_parameters(parameters));
    RETURN_IF_ERROR(replace_text(LayerKind::kParameters, write_json(parameters)));
  }
  if (request.licenses) {
    drop_kind(manifest.layers, LayerKind::kLicense);
    for (const std::string& license : *request.licenses) {
      ASSIGN_OR_RETURN(Layer layer, text_layer(LayerKind::kLicense, license, added, status));
      manifest.layers.push_back(std::move(layer));
    }
  }

  // 4. The config, and the manifest over it all.
  const auto keep = [](std::string& said, const std::string& found) {
    if (said.empty()) said = found;
  };
  keep(config.format, "gguf");
  keep(config.family, made_of.facts.architecture);
  keep(config.parameter_size, made_of.facts.parameter_size);
  keep(config.quantization, made_of.facts.quantization_level);
  if (config.families.empty()) config.families = {config.family};
  // Beside that of the base, a template that somebody chose would be taken for its stand-in.
  if (request.template_text && !request.template_text->empty()) config.renderer.clear();
  if (request.renderer) config.renderer = *request.renderer;
  if (request.parser) config.parser = *request.parser;
  if (request.requires_version) config.requires_version = *request.requires_version;
  const std::string config_json = config_text(config);
  ASSIGN_OR_RETURN(manifest.config, text_layer(LayerKind::kOther, config_json, added, {}));
  say(status, "writing manifest");
  RETURN_IF_ERROR(own_.commit(target, manifest_text(manifest)));
  added.digests.clear();
  say(status, "success");
  return {};
}

}  // namespace spillway
