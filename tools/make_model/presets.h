// SPDX-License-Identifier: MIT
// Named model shapes: small ones for tests, larger ones for benchmarks, and the shapes of some well-known models.
#pragma once

#include <span>
#include <string_view>

#include "make_model/error.h"
#include "make_model/model_spec.h"

namespace spillway::make_model {

struct Preset {
  const char* name;
  const char* purpose;
  ModelSpec spec;
};

std::span<const Preset> presets();
Expected<ModelSpec> find_preset(std::string_view name);

}  // namespace spillway::make_model
