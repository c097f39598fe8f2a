// SPDX-License-Identifier: MIT
// libmtmd's objects, freed by their owners.
#pragma once

#include <mtmd.h>

#include <memory>

namespace spillway {

struct MtmdDeleter {
  void operator()(mtmd_context* context) const { mtmd_free(context); }
  void operator()(mtmd_bitmap* bitmap) const { mtmd_bitmap_free(bitmap); }
  void operator()(mtmd_input_chunks* chunks) const { mtmd_input_chunks_free(chunks); }
};

using MtmdContext = std::unique_ptr<mtmd_context, MtmdDeleter>;
using MtmdBitmap = std::unique_ptr<mtmd_bitmap, MtmdDeleter>;
using MtmdChunks = std::unique_ptr<mtmd_input_chunks, MtmdDeleter>;

}  // namespace spillway
