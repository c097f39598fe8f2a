// SPDX-License-Identifier: MIT
// WebP files for tests, from what bmp_picture() makes.
#pragma once

#include <string>
#include <vector>

namespace spillway {

// Lossless: the same points.
std::string webp_of(const std::string& bmp);
// All of one size, a tenth of a second each.
std::string animated_webp_of(const std::vector<std::string>& bmps);

// [height][width][3] of a BMP file of 24 bits, as decoders give it: red first, from the top.
std::string points_of(const std::string& bmp);

}  // namespace spillway
