// SPDX-License-Identifier: MIT
#pragma once

#include <string_view>

#include "model/gguf_model.h"

namespace spillway {

// By llama.cpp's tensor names ("blk.3.ffn_up_exps.weight"). Unknown names are kOther: pinned or streamed like any
// weight.
TensorRole role_of_tensor(std::string_view name);

// N of "blk.N.", "enc.blk.N." or "dec.blk.N."; -1 for a tensor outside the layers.
int layer_of_tensor(std::string_view name);

}  // namespace spillway
