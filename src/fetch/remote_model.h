// SPDX-License-Identifier: MIT
// Models that are not here yet: what a pull would fetch, and their metadata, by asking for the beginnings of files.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "fetch/pull.h"
#include "model/gguf_model.h"
#include "model/model_name.h"
#include "model/projector_file.h"

namespace spillway {

struct RemoteModel {
  ModelName name;               // that a pull takes
  std::string file;             // in the repository; empty for a registry's
  uint64_t size_bytes = 0;      // of all its files
  uint64_t download_bytes = 0;  // of them, not here yet in whole or in part
  GgufModel model;              // metadata; its files can not be read
  // What it would see images with, where that is one that we take; its file counts among the above.
  std::optional<ProjectorFile> projector = {};
  std::string projector_file = {};  // in the repository
};

// The model that a pull of this name would fetch.
//   errors of pull(), and of open_gguf_model()
Result<RemoteModel> inspect_remote(const ModelName& name, const PullOptions& options);

// One of a repository's models, or why it can not be used.
struct RemoteChoice {
  ModelName name;
  std::string file;
  uint64_t size_bytes = 0, download_bytes = 0;
  Result<GgufModel> model;
};

// Every model in a repository on Hugging Face, at the revision that `name` says and whatever its tag; smallest first.
// What by its header is no model is left out. `progress` is called on the calling thread.
//   errors of pull(); Unsupported: it has no model
Result<std::vector<RemoteChoice>> inspect_repository(
    const ModelName& name, const PullOptions& options,
    const std::function<void(size_t done, size_t total)>& progress = {});

}  // namespace spillway
