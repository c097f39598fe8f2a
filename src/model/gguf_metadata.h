// SPDX-License-Identifier: MIT
// A GGUF file's metadata as JSON values, for those who show it. Reads as far as the list of tensors, in large pieces,
// and keeps nothing that it is not asked for: a vocabulary of 150,000 tokens is walked over in milliseconds. A program
// that computes with a model uses open_gguf_model() instead.
//
// GGUF is untrusted input, and a sparse file costs nothing: lengths are checked against the file before they are
// believed, and against what any model needs.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "os/file.h"

namespace spillway {

struct GgufTensorFacts {
  std::string name, type;  // "blk.0.attn_q.weight", "Q4_K"
  std::vector<uint64_t> shape;
};

struct GgufMetadata {
  nlohmann::ordered_json keys;           // in the file's order; text is valid UTF-8
  std::vector<GgufTensorFacts> tensors;  // empty unless asked for
  uint64_t n_tensors = 0;
  uint64_t n_params = 0;                   // of all tensors of this file
  std::optional<uint64_t> layer_min = {};  // the least N among tensors named "blk.N."
  bool is_whole = true;                    // false: stop_before ended it, and there are more keys

  // Where each key begins in the file, and at the end where the tensors' list begins, or what was stopped at.
  std::vector<uint64_t> key_offsets = {};
  uint64_t header_bytes = 0;  // where the tensors' list ends; 0: not read that far
  uint64_t memory_bytes = 0;  // about what all of it takes where ggml's reader keeps it; 0: not read that far

  // Empty, or 0, where there is no such key, or one of another type.
  std::string text(const std::string& key) const;
  uint64_t number(const std::string& key) const;
};

struct GgufMetadataOptions {
  size_t array_elements_max = 5;  // longer arrays are empty, and those that have too many elements together
  std::string whole_array = {};   // but the one of this key
  uint64_t text_bytes_max =
      16 << 20;  // longer texts are left out, and those that exceed this together; arrays are empty
  bool tensors = false;
  std::string stop_before = {};                        // the beginning of a key; empty: everything is read
  std::function<bool(std::string_view key)> wanted{};  // null: all keys are kept
};

//   Corrupt  Unsupported  Io   as open_gguf_model(); also more keys, tensors or bytes of them than any model has
//   Changed   the file is shorter than it says it is
Result<GgufMetadata> read_gguf_metadata(const File& file, const GgufMetadataOptions& options = {});

// The parts of one model have together what one file may have. Each is added before more is done with it.
class GgufTotals {
 public:
  //   Corrupt   with it they have more; `path` names it
  Result<void> add(const std::string& path, const GgufMetadata& metadata);

 private:
  uint64_t n_tensors_ = 0, memory_bytes_ = 0;
};

// What a path says of the part of a split model of at most kGgufPartsMax that it is; none where it is none. Pure.
struct GgufPartName {
  size_t part = 1, count = 1;  // "-00002-of-00003.gguf": 2, 3
  size_t stem_bytes = 0;       // of what is in front of it
};
std::optional<GgufPartName> gguf_part_name(std::string_view path);

// The path of another part, with the letters of this one.
std::string gguf_part_path(const std::string& path, const GgufPartName& name, size_t part);

// Where `path` is named like one part of a split model of at most kGgufPartsMax: all parts' paths, in order, else
// `path` alone. In any case of letters, which is that of all parts. Pure.
inline constexpr size_t kGgufPartsMax = 4096;
struct GgufParts {
  std::vector<std::string> paths;
  size_t named = 0;  // index of `path` among them
};
GgufParts gguf_parts(const std::string& path);

}  // namespace spillway
