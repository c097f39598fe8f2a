// SPDX-License-Identifier: MIT
// A LoRA adapter's file, held against the model that it is for: libllama checks some of this and ends the process for
// the rest. Reads metadata only.
//
//     for a matrix of the model     [n_in][n_out][n_expert]
//     NAME.lora_a                   [n_in][rank][n_expert]
//     NAME.lora_b                   [rank][n_out][n_expert]
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"
#include "model/gguf_model.h"

namespace spillway {

struct AdapterFile {
  std::string path;
  uint64_t bytes = 0;        // that it takes in memory: its matrices, and graph_bytes
  uint64_t graph_bytes = 0;  // of these, what a context of the model is larger with it
  std::string identity;      // changes with the file
};

//   NotFound  PermissionDenied  Io  Corrupt   as open_gguf_model()
//   InvalidArgument   it is no LoRA adapter, one for another architecture, or for a model of other shapes
//   Unsupported       it waits for words that invoke it (aLoRA), or changes what libllama cannot change
Result<AdapterFile> open_adapter_file(const std::string& path, const GgufModel& model);

// Each is part of every graph: 600 of a model of 11 MiB took 2.5 GB.
//   InvalidArgument   there are more than 64
Result<void> check_adapter_count(size_t n_adapters);

}  // namespace spillway
