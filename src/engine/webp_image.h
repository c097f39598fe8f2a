// SPDX-License-Identifier: MIT
// WebP files, which libmtmd does not decode, by libwebp. Pure.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "base/status.h"

namespace spillway {

struct WebpSize {
  uint64_t width = 0, height = 0;
  bool is_animated = false;
};

bool is_webp(std::string_view file);

// By the first bytes.
//   InvalidArgument   cut off or damaged
Result<WebpSize> size_of_webp(std::string_view file);

struct WebpDeleter {
  void operator()(uint8_t* points) const;
};

// Of an animation, the first picture. Transparency is left out, as it is of PNG.
struct WebpPicture {
  uint32_t width = 0, height = 0;
  std::unique_ptr<uint8_t[], WebpDeleter> points;  // [height][width][3]: red, green, blue
};

// The caller has looked at the size: the picture takes what it takes.
//   InvalidArgument   damaged
Result<WebpPicture> decode_webp(std::string_view file);

}  // namespace spillway
