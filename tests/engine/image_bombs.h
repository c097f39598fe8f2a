// SPDX-License-Identifier: MIT
// Image files that are small, say truly how large they are, and make a decoder take far more than that.
#pragma once

#include <cstdint>
#include <string>

namespace spillway {

// Whose compressed points are so many bytes of zeros once they are inflated, however few are needed.
std::string png_of_zeros(uint32_t width, uint32_t height, uint64_t inflated_bytes);

// A progressive one of one plane, the scans behind its first say nothing.
std::string jpeg_of_scans(uint16_t width, uint16_t height, size_t n_scans);

// A lossless one with a set of prefix codes for each block of 4 x 4 points: 5 KiB of tables each, out of 2.5 bytes.
std::string webp_of_prefix_codes(uint32_t width, uint32_t height);

}  // namespace spillway
