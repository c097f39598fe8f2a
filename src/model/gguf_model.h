// SPDX-License-Identifier: MIT
// What a GGUF model on disk consists of: its files (one, or the parts of a split), tensors with their place in the
// files, and the few facts of its metadata that planning needs. Reads metadata only; the weights are not touched.
//
// GGUF is untrusted input: sizes, counts and offsets are checked here against the files before anyone relies on them.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "os/file.h"

namespace spillway {

// What a tensor is for, from its name by llama.cpp's conventions; decides residency, never correctness.
enum class TensorRole {
  kEmbedding,
  kOutput,
  kAttention,
  kFfn,
  kExperts,
  kSharedExpert,
  kRouter,
  kNorm,
  kRecurrent,
  kOther
};
const char* role_name(TensorRole role);

struct TensorInfo {
  std::string name;
  std::string type;                 // "q4_K", as ggml names it
  std::array<uint64_t, 4> shape{};  // ggml's order: [n_in][n_out][n_expert][1]
  uint32_t file = 0;                // index into GgufModel::files
  ByteRange range;                  // in that file
  int layer = -1;                   // N of "blk.N."; -1 outside the layers
  TensorRole role = TensorRole::kOther;
  // Slices along shape[2] that are used one by one: n_expert for expert tensors, else 1. Equal sizes, back to back.
  uint32_t slices = 1;
  // Nothing that libllama computes uses it: of the layers that predict tokens beyond the next one (MTP), and others
  // that a load has found to be so. It takes no memory and is not read.
  bool unused = false;

  uint64_t slice_bytes() const { return range.bytes / slices; }
};

struct GgufModel {
  std::vector<std::unique_ptr<File>> files;  // in split order, open
  std::vector<TensorInfo> tensors;           // in file order within each file

  std::string architecture;  // "llama"
  std::string name;          // general.name, may be empty
  uint64_t n_layer = 0, n_embd = 0, n_ctx_train = 0, n_expert = 0, n_expert_used = 0, n_params = 0;
  // Every whole number of the architecture's metadata, flags as 0 and 1, by its key without "ARCH."; values of an array
  // (one per layer, as a rule) in order.
  std::map<std::string, std::vector<int64_t>> numbers;
  uint64_t n_vocab = 0;
  bool has_tokenizer = false;
  bool has_output = false;  // output.weight; without it the embedding is the output matrix too

  // The number under `key`, the array's first one; `otherwise` where there is none.
  int64_t number(const std::string& key, int64_t otherwise) const;
  // The same for one layer: the array's entry, or the one number of all layers.
  int64_t number_of_layer(const std::string& key, size_t layer, int64_t otherwise) const;

  uint64_t weight_bytes() const;  // of all tensors that are used
  uint64_t unused_bytes() const;  // of the others
  std::vector<std::string> paths() const;
};

// Opens `path` and, for the first part of a split (-00001-of-0000N.gguf), its siblings.
//   NotFound           no such file, or a part of the split is missing (the message names it)
//   InvalidArgument    a directory; a later part of a split was named
//   PermissionDenied
//   Io                 ...; it is of more parts than an eighth of the files that may be open
//   Corrupt            not a GGUF, truncated, empty, overlapping or out-of-range tensors, counts beyond the file's
//   size;
//                      parts that are not those of one split; more layers than tensors, more experts than any model
//                      has, more experts used than there are
//   Unsupported        GGUF version 1, big-endian
Result<GgufModel> open_gguf_model(const std::string& path, const OpenOptions& options = {});

// The same where files are opened in another way, and named however that wants them.
using FileOpener = std::function<Result<std::unique_ptr<File>>(const std::string& path)>;
Result<GgufModel> open_gguf_model(const std::string& path, const FileOpener& open);

// Of one file alone, whatever it is and belongs to: whether all of its tensors are there.
//   as open_gguf_model()
Result<void> check_gguf_file(const std::string& path);

// Checks the fixed header (magic, version, byte order, counts against the size) of one file's first bytes.
// Pure; `path` only names the file in messages.
Result<void> check_gguf_header(const std::string& path, std::span<const std::byte> first_bytes, uint64_t file_bytes);

}  // namespace spillway
