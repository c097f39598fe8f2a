// SPDX-License-Identifier: MIT
// An image file, decoded: by libmtmd's stb_image, or libwebp. Any thread, several at once.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"

namespace spillway {

struct Picture {
  uint32_t width = 0, height = 0;
  std::string points;  // [height][width][3]: red, green, blue
};

// In this process: a fault of a decoder is a fault of ours. What strangers send is decoded by decode_image().
//   InvalidArgument   errors of inspect_image_file(); damaged, or of a form that is not read
Result<Picture> decode_image_here(const std::string& file, uint64_t work_bytes_max);

}  // namespace spillway
