// SPDX-License-Identifier: MIT
#include "model/layer_blob.h"

#include <fmt/format.h>

#include "base/sha256.h"
#include "os/file.h"

namespace spillway {
namespace {

Failure damaged(const std::string& path, const std::string& how) {
  return error(Code::kCorrupt, fmt::format("{}: {}: it is damaged; remove it and pull the model again", path, how));
}

Result<void> check_size(const std::string& path, uint64_t bytes) {
  const auto identity = identify_file(path);
  if (!identity && identity.error().code() == Code::kNotFound)
    return error(Code::kCorrupt, fmt::format("{}: is missing; pull the model again", path));
  if (!identity) return Failure(identity.error());
  if (identity->bytes == bytes) return {};
  return damaged(path, fmt::format("has {} bytes, and the model's manifest says {}", identity->bytes, bytes));
}

}  // namespace

Result<void> check_layer(const ModelStore& store, const Layer& layer) {
  if (layer.size_bytes > kManifestBytesMax) return check_size(store.blob_path(layer.digest), layer.size_bytes);
  RETURN_IF_ERROR(read_layer(store, layer));
  return {};
}

Result<std::string> read_layer(const ModelStore& store, const Layer& layer) {
  const std::string path = store.blob_path(layer.digest);
  RETURN_IF_ERROR(check_size(path, layer.size_bytes));
  ASSIGN_OR_RETURN(std::string text, store.read_blob(layer.digest));
  if (sha256_hex(text) == digest_hex(layer.digest)) return text;
  return damaged(path, "its content is not what its name says");
}

}  // namespace spillway
