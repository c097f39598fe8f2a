// SPDX-License-Identifier: MIT
// The files that a model is to consist of, looked at before it takes a name: that may be the name of one that works.
// What they are they say themselves, whoever calls them what. Reads metadata only.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "model/gguf_facts.h"
#include "model/gguf_model.h"

namespace spillway {

struct ModelFiles {
  std::vector<std::string> parts;  // of the model itself, in order, whatever their names
  std::vector<std::string> adapters, projectors;
};

struct CheckedModel {
  GgufFacts facts;
  GgufModel gguf;
};

//   Unsupported   it only stands beside a model: a projector, an adapter, ...
Result<void> check_is_model(const GgufFacts& facts);

// Whether the parts are one language model, and whole. `name` is what messages call it.
//   errors of open_gguf_model() and check_is_model()
//   Corrupt       also: a part is missing, or more than the model has
//   Unsupported   also: there is none
Result<CheckedModel> check_model_parts(const std::string& name, const std::vector<std::string>& parts);

// Whether what goes with it is what it should be, and for this model.
//   errors of open_adapter_file() and check_is_projector()
Result<void> check_beside(const GgufModel& model, const ModelFiles& files);

}  // namespace spillway
