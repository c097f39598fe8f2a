// SPDX-License-Identifier: MIT
// Images are decoded by a process of their own, one for each: what a file makes a decoder do, in memory, in time or by
// a fault, ends that process and not the one that asks.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"
#include "engine/picture.h"

namespace spillway {

// Where confine_images_to() said so, in a process of its own. Any thread, several at once.
//   errors of decode_image_here(), and:
//   InvalidArgument   decoding took more than a process may
//   NotFound  PermissionDenied  Io   the program cannot be started
Result<Picture> decode_image(const std::string& file, uint64_t work_bytes_max);

// From now on all images of this process are decoded so. Once, before there are threads. `program` is one whose main()
// calls answer_as_image_decoder() when it is given kImageArgument alone.
void confine_images_to(std::string program);

constexpr const char* kImageArgument = "--decode-image";

// Of that program: decodes one image.
void answer_as_image_decoder();

}  // namespace spillway
