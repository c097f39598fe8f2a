// SPDX-License-Identifier: MIT
// What an image file says of itself in its first bytes, held against what may be decoded, before anything is. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace spillway {

struct ImageFacts {
  const char* format = "";  // "PNG"
  uint64_t width = 0, height = 0;
  uint64_t work_bytes = 0;  // that decoding it takes, at most
};

//   InvalidArgument   no image; one of a format that is not read; cut off; or so large that decoding takes more than
//                     `work_bytes_max`
Result<ImageFacts> inspect_image_file(std::string_view file, uint64_t work_bytes_max);

}  // namespace spillway
