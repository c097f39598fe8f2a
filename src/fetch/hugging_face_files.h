// SPDX-License-Identifier: MIT
// Which files of a Hugging Face repository a name means. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace spillway {

struct HfFile {
  std::string path;  // in the repository
  uint64_t size_bytes = 0;
  std::string sha256;  // 64 hex; empty for a file that is not in large-file storage
};

// One page of the answer to /api/models/USER/REPO/tree/REVISION.
//   Corrupt
Result<std::vector<HfFile>> parse_hf_files(std::string_view json);

// The files of one model: a GGUF, or all parts of a split one, in order. `quant` is a quantization ("Q4_K_M", of any
// case), a file's name, or "latest": then Q4_K_M, or what is closest to it. Files of a vision part (mmproj) and of
// importance data (imatrix) are no models.
//   NotFound   the message names what there is      Corrupt   parts are missing
Result<std::vector<HfFile>> choose_hf_files(const std::vector<HfFile>& files, std::string_view quant);

}  // namespace spillway
