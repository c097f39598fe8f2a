// SPDX-License-Identifier: MIT
// An image projector (mmproj) as a file, before anything of it is loaded: whether it is one that sees, and what it will
// take in memory. Everything else is libmtmd's to say.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"
#include "model/gguf_metadata.h"
#include "model/gguf_model.h"

namespace spillway {

// While an image is decoded and made the size that the projector wants: images that need more are refused. A photograph
// of 12 million points fits.
inline constexpr uint64_t kImageWorkBytes = 144ull << 20;

struct ProjectorFile {
  std::string path;
  std::string identity;        // changes with the file
  std::string type;            // "mlp", "gemma3", "qwen2vl_merger"
  uint64_t weight_bytes = 0;   // loaded whole, and not streamed
  uint64_t compute_bytes = 0;  // about, for the largest image that libmtmd makes ready for when it loads

  uint64_t need_bytes() const { return weight_bytes + compute_bytes + kImageWorkBytes; }
};

// Pure. `file` and `metadata` of the same GGUF, which may be on a server; `identity` is left empty.
//   Corrupt           a tensor is missing, or another shape than the metadata says
//   InvalidArgument  Unsupported   as below
Result<ProjectorFile> projector_of_gguf(const std::string& path, const GgufModel& file, const GgufMetadata& metadata);

//   NotFound  PermissionDenied  Io  Corrupt   as open_gguf_model()
//   InvalidArgument   it is no projector
//   Unsupported       it does not see (sound alone)
Result<ProjectorFile> open_projector_file(const std::string& path);

// Whether the file is a projector, of images or of sound, and whole: not whether libmtmd takes it.
//   NotFound  PermissionDenied  Io  Corrupt   as open_gguf_model()
//   InvalidArgument   it is none
Result<void> check_is_projector(const std::string& path);

// Pure: whether its metadata says that it is a projector that sees.
bool is_vision_projector(const GgufMetadata& metadata);

// Pure: of each token that it makes of an image, how many numbers it has, which a model's embedding has to have too.
// 0: of a type whose tensors do not show it, or without them.
uint64_t projector_width(const GgufMetadata& metadata);

// Whether the projector in this file may be for a model whose embedding has `n_embd` numbers: no where both are known
// and differ, or it cannot be read. By the file's header.
bool may_fit_model(const std::string& path, uint64_t n_embd);

}  // namespace spillway
