// SPDX-License-Identifier: MIT
#include "model/manifest.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <utility>

#include "base/bytes.h"
#include "base/json_reader.h"
#include "base/json_writer.h"
#include "base/utf8.h"

namespace spillway {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kImage = "application/vnd.ollama.image.";
constexpr std::string_view kConfigType = "application/vnd.docker.container.image.v1+json";
constexpr std::string_view kManifestType = "application/vnd.docker.distribution.manifest.v2+json";
constexpr size_t kHexBytes = 64;
constexpr size_t kFamiliesMax = 16;
constexpr std::array<std::pair<LayerKind, std::string_view>, 8> kKinds = {{{LayerKind::kModel, "model"},
                                                                           {LayerKind::kProjector, "projector"},
                                                                           {LayerKind::kAdapter, "adapter"},
                                                                           {LayerKind::kTemplate, "template"},
                                                                           {LayerKind::kSystem, "system"},
                                                                           {LayerKind::kParameters, "params"},
                                                                           {LayerKind::kLicense, "license"},
                                                                           {LayerKind::kMessages, "messages"}}};

std::string text_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? valid_utf8(found->get<std::string>()) : "";
}

bool is_text(LayerKind kind) {
  return kind != LayerKind::kModel && kind != LayerKind::kProjector && kind != LayerKind::kAdapter;
}

Failure damaged(const std::string& what) { return error(Code::kCorrupt, "the manifest is damaged: " + what); }

Result<Layer> parse_layer(const Json& json) {
  if (!json.is_object()) return damaged("a layer is no object");
  Layer layer{.media_type = text_of(json, "mediaType"), .digest = {}, .from = text_of(json, "from")};
  const auto digest = parse_digest(text_of(json, "digest"));
  if (!digest) return damaged("a layer has no sha256 digest");
  layer.digest = *digest;
  const auto size = json.find("size");
  if (size == json.end() || !size->is_number_integer() || (!size->is_number_unsigned() && size->get<int64_t>() < 0))
    return damaged("a layer has no size");
  layer.size_bytes = size->get<uint64_t>();
  if (layer.size_bytes > uint64_t{1} << 60) return damaged("a layer's size is absurd");
  return layer;
}

Json layer_json(const Layer& layer) {
  Json json = {{"mediaType", layer.media_type}, {"digest", layer.digest}, {"size", layer.size_bytes}};
  if (!layer.from.empty()) json["from"] = layer.from;
  return json;
}

}  // namespace

std::optional<std::string> parse_digest(std::string_view text) {
  constexpr std::string_view kAlgorithm = "sha256";
  if (text.size() != kAlgorithm.size() + 1 + kHexBytes || !text.starts_with(kAlgorithm)) return std::nullopt;
  const char separator = text[kAlgorithm.size()];
  if (separator != ':' && separator != '-') return std::nullopt;
  const std::string_view hex = text.substr(kAlgorithm.size() + 1);
  if (!std::all_of(hex.begin(), hex.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }))
    return std::nullopt;
  return fmt::format("{}:{}", kAlgorithm, hex);
}

std::string_view digest_hex(std::string_view digest) { return digest.substr(digest.size() - kHexBytes); }

std::string blob_file_name(std::string_view digest) { return fmt::format("sha256-{}", digest_hex(digest)); }

LayerKind Layer::kind() const {
  std::string_view type = media_type;
  if (!type.starts_with(kImage)) return LayerKind::kOther;
  type.remove_prefix(kImage.size());
  for (const auto& [kind, name] : kKinds)
    if (type == name) return kind;
  return LayerKind::kOther;
}

std::string media_type_of(LayerKind kind) {
  for (const auto& [known, name] : kKinds)
    if (known == kind) return fmt::format("{}{}", kImage, name);
  return "";
}

std::vector<const Layer*> Manifest::of_kind(LayerKind kind) const {
  std::vector<const Layer*> found;
  for (const Layer& layer : layers)
    if (layer.kind() == kind) found.push_back(&layer);
  return found;
}

const Layer* Manifest::first(LayerKind kind) const {
  const auto found = of_kind(kind);
  return found.empty() ? nullptr : found.front();
}

std::vector<std::string> Manifest::digests() const {
  std::vector<std::string> all;
  std::unordered_set<std::string> known;
  const auto add = [&](const std::string& digest) {
    if (known.insert(digest).second) all.push_back(digest);
  };
  if (!config.digest.empty()) add(config.digest);
  for (const Layer& layer : layers) add(layer.digest);
  return all;
}

uint64_t Manifest::size_bytes() const {
  uint64_t sum = config.size_bytes;
  for (const Layer& layer : layers)
    if (__builtin_add_overflow(sum, layer.size_bytes, &sum)) return UINT64_MAX;
  return sum;
}

Result<Manifest> parse_manifest(std::string_view text) {
  const Json json = read_json(text).value_or(Json());
  if (!json.is_object()) return damaged("it is no JSON object");
  Manifest manifest;
  const auto config = json.find("config");
  // Old stores have models without one.
  if (config != json.end() && config->is_object() && !text_of(*config, "digest").empty()) {
    ASSIGN_OR_RETURN(manifest.config, parse_layer(*config));
  }
  const auto layers = json.find("layers");
  if (layers == json.end() || !layers->is_array()) return damaged("it has no layers");
  if (layers->size() > kLayersMax)
    return error(Code::kUnsupported, fmt::format("the manifest has {} layers; {} at most", layers->size(), kLayersMax));
  for (const Json& one : *layers) {
    ASSIGN_OR_RETURN(Layer layer, parse_layer(one));
    manifest.layers.push_back(std::move(layer));
  }
  return manifest;
}

Result<void> check_text_sizes(const Manifest& manifest) {
  const auto check = [](const Layer& layer, std::string_view what) -> Result<void> {
    if (layer.size_bytes <= kManifestBytesMax) return {};
    return error(Code::kUnsupported, fmt::format("its {} has {}, where {} are the most that is read", what,
                                                 format_bytes(layer.size_bytes), format_bytes(kManifestBytesMax)));
  };
  RETURN_IF_ERROR(check(manifest.config, "config"));
  for (const Layer& layer : manifest.layers)
    for (const auto& [kind, name] : kKinds)
      if (layer.kind() == kind && is_text(kind)) RETURN_IF_ERROR(check(layer, name));
  return {};
}

std::string manifest_text(const Manifest& manifest) {
  Json json = {{"schemaVersion", 2}, {"mediaType", kManifestType}, {"config", layer_json(manifest.config)}};
  json["config"]["mediaType"] = kConfigType;
  json["layers"] = Json::array();
  for (const Layer& layer : manifest.layers) json["layers"].push_back(layer_json(layer));
  return write_json(json);
}

ModelConfig parse_config(std::string_view text) {
  const Json json = read_json(text).value_or(Json());
  if (!json.is_object()) return {};
  // Cells of tables and lists of models: words, whoever wrote the file.
  const auto word_of = [&](const char* key) { return shortened(text_of(json, key)); };
  ModelConfig config{.format = word_of("model_format"),
                     .family = word_of("model_family"),
                     .parameter_size = word_of("model_type"),
                     .quantization = word_of("file_type"),
                     .families = {},
                     .renderer = word_of("renderer"),
                     .parser = word_of("parser"),
                     .requires_version = word_of("requires")};
  const auto families = json.find("model_families");
  if (families != json.end() && families->is_array())
    for (const Json& family : *families)
      if (family.is_string() && config.families.size() < kFamiliesMax)
        config.families.push_back(shortened(family.get<std::string>()));
  return config;
}

std::string config_text(const ModelConfig& config) {
  Json json = {{"model_format", config.format},
               {"model_family", config.family},
               {"model_families", config.families},
               {"model_type", config.parameter_size},
               {"file_type", config.quantization}};
  if (!config.renderer.empty()) json["renderer"] = config.renderer;
  if (!config.parser.empty()) json["parser"] = config.parser;
  if (!config.requires_version.empty()) json["requires"] = config.requires_version;
  json["architecture"] = "amd64";
  json["os"] = "linux";
  json["rootfs"] = {{"type", "layers"}, {"diff_ids", Json::array()}};
  return write_json(json);
}

}  // namespace spillway
