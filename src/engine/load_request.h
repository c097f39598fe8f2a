// SPDX-License-Identifier: MIT
// What a load was asked for, with the files that it names opened and held against each other. Constant from then on.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/adapters.h"
#include "engine/engine.h"
#include "model/gguf_model.h"
#include "model/projector_file.h"

namespace spillway {

struct LoadRequest {
  LoadOptions options;  // as asked, but: the threads are a number, and the cache is of a format that the model takes
  GgufModel gguf;
  CheckedAdapters adapters;
  std::optional<ProjectorFile> projector;
  uint64_t weight_bytes = 0;  // by the files alone: no graph has shown yet which of them nothing uses
  uint64_t budget_bytes = 0;  // for the whole process
  std::string notice;         // what to tell who asked for another cache; empty: nothing

  // Of what stays in memory beside the model: a projector with its buffers, and adapters.
  uint64_t projector_bytes() const { return projector ? projector->need_bytes() : 0; }
  uint64_t beside_bytes() const { return adapters.bytes() + projector_bytes(); }
  std::vector<const File*> files() const;  // the model's, open
};

//   errors of open_gguf_model, check_cache_format, check_adapters and open_projector_file
Result<LoadRequest> open_request(const LoadOptions& options);

}  // namespace spillway
