// SPDX-License-Identifier: MIT
// Any bytes as an image: what is let through is decoded to the size that was read of it, or is an error.
#include <mtmd-helper.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/check.h"
#include "engine/image_file.h"
#include "engine/picture.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  using namespace spillway;
  [[maybe_unused]] static const bool is_silent = [] {
    mtmd_helper_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
    return true;
  }();
  constexpr uint64_t kWorkBytes = 1 << 20;  // small, so that decoding is quick
  const std::string file(reinterpret_cast<const char*>(data), bytes);
  const auto facts = inspect_image_file(file, kWorkBytes);
  const auto picture = decode_image_here(file, kWorkBytes);
  CHECK(facts || !picture);
  if (!picture) {
    CHECK(picture.error().code() == Code::kInvalidArgument && !picture.error().message().empty());
    return 0;
  }
  CHECK(picture->width == facts->width && picture->height == facts->height);
  CHECK(picture->points.size() == size_t{3} * picture->width * picture->height);
  return 0;
}
