// SPDX-License-Identifier: MIT
// The key-value part of the file: hyper-parameters under the architecture's name, and the tokenizer.
#pragma once

#include <gguf.h>

#include "make_model/model_spec.h"
#include "make_model/type_mix.h"

namespace spillway::make_model {

void set_metadata(gguf_context* gguf, const ModelSpec& spec, const TypeMix& mix);

}  // namespace spillway::make_model
