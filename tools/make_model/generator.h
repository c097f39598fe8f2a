// SPDX-License-Identifier: MIT
// Makes the model: plans its tensors, writes one GGUF file or several (named and keyed as llama-gguf-split does),
// reports.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "make_model/error.h"
#include "make_model/model_spec.h"

namespace spillway::make_model {

struct OutputOptions {
  std::string path;  // with several shards, "x.gguf" gives x-00001-of-0000N.gguf
  int shards = 1;
  std::function<void(uint64_t done_bytes, uint64_t total_bytes)> on_progress;  // optional; called every few MB
  bool sparse = false;  // metadata only: the weights are a hole that reads as zeros, for plans of models of any size
};

struct Summary {
  std::vector<std::string> files;
  uint64_t bytes = 0;         // all files together
  uint64_t tensor_bytes = 0;  // without metadata and padding
  uint64_t expert_bytes = 0;  // of the tensors that are read expert by expert
  int64_t tensors = 0;
  int64_t parameters = 0;
  double prepare_s = 0;  // planning and quantising the pools
  double write_s = 0;    // until everything is on the disk
};

// All files appear together, or none does. Fails with a sentence that names the option or the file.
Expected<Summary> make_model(const ModelSpec& spec, const OutputOptions& options);

// What make_model() would write, without writing.
Expected<Summary> describe_model(const ModelSpec& spec, const OutputOptions& options);

}  // namespace spillway::make_model
