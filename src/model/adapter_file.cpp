// SPDX-License-Identifier: MIT
#include "model/adapter_file.h"

#include <fmt/format.h>
#include <gguf.h>

#include <cmath>
#include <cstring>
#include <map>
#include <span>
#include <string_view>
#include <unordered_map>

#include "base/bytes.h"
#include "model/ggml_log.h"
#include "model/gguf_kind.h"
#include "model/gguf_metadata.h"

namespace spillway {
namespace {

constexpr std::string_view kSuffixA = ".lora_a", kSuffixB = ".lora_b";
// libllama leaves these out: nearly all adapters work without them.
constexpr std::string_view kNormSuffix = "_norm.weight";
constexpr const char* kEmbedding = "token_embd.weight";
constexpr uint64_t kTensorAlignment = 64;

// For each matrix that an adapter changes, libllama reserves six operations in its graphs and in the tables of its
// scheduler: 127 to 128 KiB, whatever the matrix (libllama 0.7.0; 32 matrices with 64 adapters, 126 with 16). Of this
// address space 10 KiB are touched, but a load counts all that a context reserves, so a plan without it says less than
// the load needs: for 16 adapters of Gemma 3 270M 475 MiB instead of 710.
constexpr uint64_t kGraphBytesPerMatrix = 128 * KiB;

struct Pair {
  const TensorInfo* a = nullptr;
  const TensorInfo* b = nullptr;
};

std::string shape_text(const TensorInfo& tensor) {
  return fmt::format("{}x{}x{}", tensor.shape[0], tensor.shape[1], tensor.shape[2]);
}

// Formats that a matrix product takes on its left side.
bool is_computable(const std::string& type) {
  if (type == "q8_1" || type == "q8_K") return false;  // made of the right side, on the way
  return type.front() == 'f' ? type == "f32" || type == "f16" : type.front() != 'i' || type.starts_with("iq");
}

// libllama reads it as what it should be, without asking; scaled by what is no number, all weights are none.
Result<bool> is_absent_or_finite(const File& file, const GgufMetadata& metadata, std::string_view key) {
  for (const uint64_t offset : metadata.key_offsets) {
    // The key's length, its text, its type, its value.
    std::string bytes(sizeof(uint64_t) + key.size() + sizeof(uint32_t) + sizeof(float), '\0');
    ASSIGN_OR_RETURN(const uint64_t got, file.read_at(offset, std::as_writable_bytes(std::span(bytes))));
    uint64_t length = 0;
    uint32_t type = 0;
    std::memcpy(&length, bytes.data(), sizeof length);
    float value = 0;
    std::memcpy(&type, bytes.data() + sizeof length + key.size(), sizeof type);
    std::memcpy(&value, bytes.data() + bytes.size() - sizeof value, sizeof value);
    if (got == bytes.size() && length == key.size() && std::string_view(bytes).substr(sizeof length, key.size()) == key)
      return type == GGUF_TYPE_FLOAT32 && std::isfinite(value);
  }
  return true;
}

Result<void> check_keys(const std::string& path, const File& file, const GgufModel& model) {
  ASSIGN_OR_RETURN(const GgufMetadata metadata, read_gguf_metadata(file));
  const auto wrong = [&](const std::string& what) { return error(Code::kInvalidArgument, path + ": " + what); };
  if (kind_of(metadata) != GgufKind::kAdapter || metadata.text("general.type") != "adapter")
    return wrong(fmt::format("is {}, not a LoRA adapter", kind_phrase(kind_of(metadata))));
  if (metadata.text("adapter.type") != "lora")
    return wrong(fmt::format("is an adapter of type '{}'; only lora is known",
                             one_line(metadata.text("adapter.type").substr(0, 40))));
  const std::string architecture = metadata.text("general.architecture");
  if (architecture != model.architecture)
    return wrong(fmt::format("is an adapter for {}, and the model is {}", one_line(architecture), model.architecture));
  ASSIGN_OR_RETURN(const bool alpha_is_right, is_absent_or_finite(file, metadata, "adapter.lora.alpha"));
  if (!alpha_is_right) return wrong("its adapter.lora.alpha is no finite number of 32 bits");
  if (metadata.keys.contains("adapter.alora.invocation_tokens"))
    return error(Code::kUnsupported,
                 path + ": is an adapter that words of the prompt invoke (aLoRA), which is not done");
  return {};
}

Result<std::map<std::string, Pair>> pairs_of(const std::string& path, const GgufModel& adapter) {
  std::map<std::string, Pair> pairs;
  for (const TensorInfo& tensor : adapter.tensors) {
    const std::string_view name = tensor.name;
    if (name.ends_with(kSuffixA))
      pairs[std::string(name.substr(0, name.size() - kSuffixA.size()))].a = &tensor;
    else if (name.ends_with(kSuffixB))
      pairs[std::string(name.substr(0, name.size() - kSuffixB.size()))].b = &tensor;
    else if (!name.ends_with(kNormSuffix))
      return error(Code::kUnsupported, fmt::format("{}: holds '{}', which is neither .lora_a nor .lora_b of a matrix",
                                                   path, one_line(name)));
  }
  if (pairs.empty()) return error(Code::kInvalidArgument, path + ": changes no matrix");
  for (const auto& [name, pair] : pairs)
    if (pair.a == nullptr || pair.b == nullptr)
      return error(Code::kCorrupt,
                   fmt::format("{}: of the matrix '{}' it holds one half; convert it again", path, one_line(name)));
  return pairs;
}

bool fits(const TensorInfo& matrix, const Pair& pair) {
  const auto &w = matrix.shape, &a = pair.a->shape, &b = pair.b->shape;
  // Rows of the embedding are looked up, not multiplied: what would be in front is behind.
  if (matrix.name == kEmbedding)
    return a[0] > 0 && a[0] == b[0] && a[1] == w[1] && b[1] == w[0] && a[2] == 1 && b[2] == 1;
  return a[1] > 0 && a[0] == w[0] && b[1] == w[1] && a[1] == b[0] && a[2] == w[2] && b[2] == w[2] && a[3] == 1 &&
         b[3] == 1 && w[3] == 1;
}

using TensorsByName = std::unordered_map<std::string_view, const TensorInfo*>;

Result<void> check_pair(const std::string& path, const std::string& name, const Pair& pair, const GgufModel& model,
                        const TensorsByName& tensors) {
  const auto found = tensors.find(name);
  if (found == tensors.end())
    return error(
        Code::kInvalidArgument,
        fmt::format("{}: changes '{}', which this model does not have: it is for another one", path, one_line(name)));
  const TensorInfo* const matrix = found->second;
  if (!fits(*matrix, pair))
    return error(Code::kInvalidArgument,
                 fmt::format("{}: changes a '{}' of another shape ({} and {}; this model's is {}): it is for another "
                             "model",
                             path, name, shape_text(*pair.a), shape_text(*pair.b), shape_text(*matrix)));
  for (const TensorInfo* half : {pair.a, pair.b})
    if (!is_computable(half->type))
      return error(Code::kUnsupported,
                   fmt::format("{}: '{}' is of type {}, which is not computed with", path, half->name, half->type));
  if (name == kEmbedding && !model.has_output)
    return error(Code::kUnsupported,
                 fmt::format("{}: changes the embedding, which is this model's output matrix too; libllama cannot "
                             "change one without the other",
                             path));
  if (matrix->type == "nvfp4")
    return error(Code::kUnsupported,
                 fmt::format("{}: '{}' is of type nvfp4 here, which no adapter changes", path, name));
  return {};
}

}  // namespace

Result<AdapterFile> open_adapter_file(const std::string& path, const GgufModel& model) {
  ASSIGN_OR_RETURN(const GgufModel adapter, open_gguf_model(path, {.direct = false}));
  RETURN_IF_ERROR(check_keys(path, *adapter.files.front(), model));
  ASSIGN_OR_RETURN(const auto pairs, pairs_of(path, adapter));
  TensorsByName tensors;
  for (const TensorInfo& tensor : model.tensors) tensors.emplace(tensor.name, &tensor);
  AdapterFile file{.path = path, .bytes = 0, .graph_bytes = pairs.size() * kGraphBytesPerMatrix, .identity = {}};
  for (const auto& [name, pair] : pairs) {
    RETURN_IF_ERROR(check_pair(path, name, pair, model, tensors));
    for (const TensorInfo* half : {pair.a, pair.b}) file.bytes += round_up(half->range.bytes, kTensorAlignment);
  }
  file.bytes += file.graph_bytes;
  file.identity = identity_key(adapter.files.front()->identity());
  return file;
}

Result<void> check_adapter_count(size_t n_adapters) {
  constexpr size_t kMost = 64;
  if (n_adapters <= kMost) return {};
  return error(Code::kInvalidArgument, fmt::format("{} adapters: a model has {} at most", n_adapters, kMost));
}

}  // namespace spillway
