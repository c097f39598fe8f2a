// SPDX-License-Identifier: MIT
// What a stored model consists of: the manifest of Ollama's stores and registries, and the small JSON file ("config")
// that comes with it. Pure. Both are untrusted input: a digest that is none never becomes a path.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace spillway {

// More is no manifest. Nor is one of its texts (a template, a license, the config) larger.
constexpr uint64_t kManifestBytesMax = 4ull << 20;
// More layers are none of a model: each may be a request to a registry, and a file to open.
constexpr size_t kLayersMax = 2048;

// "sha256:<64 lower-case hex>" of that, or of the form with '-' in which blobs are named; none for anything else.
std::optional<std::string> parse_digest(std::string_view text);

// "sha256-<hex>", the file a blob is in. `digest` is one that parse_digest() gave.
std::string blob_file_name(std::string_view digest);

// The 64 hex digits alone.
std::string_view digest_hex(std::string_view digest);

enum class LayerKind { kModel, kProjector, kAdapter, kTemplate, kSystem, kParameters, kLicense, kMessages, kOther };

struct Layer {
  std::string media_type;
  std::string digest;  // as parse_digest() gives it
  uint64_t size_bytes = 0;
  std::string from;  // the model it was taken from; may be empty

  LayerKind kind() const;
};
std::string media_type_of(LayerKind kind);  // not for kOther

struct Manifest {
  Layer config;
  std::vector<Layer> layers;

  std::vector<const Layer*> of_kind(LayerKind kind) const;
  const Layer* first(LayerKind kind) const;  // nullptr when there is none
  std::vector<std::string> digests() const;  // of config and layers, each once
  uint64_t size_bytes() const;               // of config and layers
};

//   Corrupt   the message has no path in front: the caller knows where the text is from
//   Unsupported   it has more than kLayersMax layers
Result<Manifest> parse_manifest(std::string_view text);
// Pure: by the sizes that it says.
//   Unsupported   one of its texts is larger than whoever uses the model would read
Result<void> check_text_sizes(const Manifest& manifest);
std::string manifest_text(const Manifest& manifest);

// The config; what a file does not say is empty.
struct ModelConfig {
  std::string format, family, parameter_size, quantization;
  std::vector<std::string> families;
  std::string renderer, parser, requires_version;
};
ModelConfig parse_config(std::string_view text);  // what can not be read is empty
std::string config_text(const ModelConfig& config);

}  // namespace spillway
