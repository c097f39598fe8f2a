// SPDX-License-Identifier: MIT
#include "engine/image_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "base/bytes.h"
#include "engine/webp_image.h"

namespace spillway {
namespace {

// No side of an image is longer, whatever its area: strips are resized by side.
constexpr uint64_t kSideMax = 1 << 15;

// Bytes per point while it is decoded, as stb_image does it: the planes or rows of the file, the picture with them, and
// a copy of it.
constexpr uint64_t kPngBytes = 10, kDeepPngBytes = 20, kGifBytes = 14, kBmpBytes = 8;
// Of a JPEG that comes in several scans, each plane with its coefficients, and the picture.
constexpr uint64_t kJpegBytes = 11, kProgressivePlaneBytes = 3, kPictureBytes = 3;
// Each scan goes over all points, however little it says of them: 0.4 ms for 13 million, out of 31 bytes. Files have
// about ten.
constexpr size_t kJpegScansMax = 500;
// libwebp: the points of a lossless file, an alpha plane, the picture, and the copy of it; an animation has two
// canvases besides.
constexpr uint64_t kWebpBytes = 14, kAnimatedWebpBytes = 26;

uint64_t byte_at(std::string_view file, size_t at) { return static_cast<unsigned char>(file[at]); }
uint64_t big_endian(std::string_view file, size_t at, size_t n) {
  uint64_t value = 0;
  for (size_t i = 0; i < n; ++i) value = value << 8 | byte_at(file, at + i);
  return value;
}
uint64_t little_endian(std::string_view file, size_t at, size_t n) {
  uint64_t value = 0;
  for (size_t i = n; i-- > 0;) value = value << 8 | byte_at(file, at + i);
  return value;
}

Failure bad_image(const std::string& why) { return error(Code::kInvalidArgument, why); }
Failure cut_off(const char* format) { return bad_image(fmt::format("the {} image is cut off", format)); }

struct Size {
  uint64_t width = 0, height = 0, bytes_per_point = 0;
};

Result<Size> size_of_png(std::string_view file) {
  constexpr size_t kHeaderEnd = 8 + 8 + 13;
  if (file.size() < kHeaderEnd || file.find("IEND") == std::string_view::npos) return cut_off("PNG");
  if (file.substr(12, 4) != "IHDR") return bad_image("the PNG image has no header");
  return Size{.width = big_endian(file, 16, 4),
              .height = big_endian(file, 20, 4),
              .bytes_per_point = byte_at(file, 24) > 8 ? kDeepPngBytes : kPngBytes};
}

bool has_more_than(size_t n, std::string_view part, std::string_view text) {
  for (size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + part.size()))
    if (n-- == 0) return true;
  return false;
}

// The frame's header stands behind segments that say how long they are.
Result<Size> size_of_jpeg(std::string_view file) {
  constexpr uint64_t kProgressive = 0xC2;
  size_t at = 2;
  while (at + 4 <= file.size()) {
    if (byte_at(file, at) != 0xFF) return bad_image("the JPEG image is damaged");
    const uint64_t marker = byte_at(file, at + 1);
    if (marker == 0xFF) {
      ++at;
      continue;
    }
    const bool is_frame = marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
    const uint64_t length = big_endian(file, at + 2, 2);
    if (length < 2) return bad_image("the JPEG image is damaged");
    if (!is_frame) {
      at += 2 + length;
      continue;
    }
    if (at + 10 > file.size()) break;
    if (file.find("\xFF\xD9", at) == std::string_view::npos) break;
    if (has_more_than(kJpegScansMax, "\xFF\xDA", file.substr(at)))
      return bad_image(fmt::format("the JPEG image has more than {} scans", kJpegScansMax));
    const uint64_t progressive_bytes = byte_at(file, at + 9) * kProgressivePlaneBytes + kPictureBytes;
    return Size{.width = big_endian(file, at + 7, 2),
                .height = big_endian(file, at + 5, 2),
                .bytes_per_point = marker == kProgressive ? std::max(progressive_bytes, kJpegBytes) : kJpegBytes};
  }
  return cut_off("JPEG");
}

Result<Size> size_of_gif(std::string_view file) {
  if (file.size() < 13 || file.find(';', 13) == std::string_view::npos) return cut_off("GIF");
  return Size{.width = little_endian(file, 6, 2), .height = little_endian(file, 8, 2), .bytes_per_point = kGifBytes};
}

Result<Size> size_of_bmp(std::string_view file) {
  if (file.size() < 30) return cut_off("BMP");
  const uint64_t header_bytes = little_endian(file, 14, 4);
  const bool is_old = header_bytes == 12;
  Size size{.bytes_per_point = kBmpBytes};
  size.width = little_endian(file, 18, is_old ? 2 : 4);
  size.height = little_endian(file, is_old ? 20 : 22, is_old ? 2 : 4);
  if (!is_old && size.height > INT32_MAX) size.height = (1ull << 32) - size.height;  // negative: from the top
  if (!is_old && file.size() < 34) return cut_off("BMP");
  const uint64_t bits = little_endian(file, is_old ? 24 : 28, 2);
  const bool is_run_length = !is_old && (little_endian(file, 30, 4) == 1 || little_endian(file, 30, 4) == 2);
  const uint64_t points_begin = little_endian(file, 10, 4);
  if (!is_run_length && size.width < kSideMax && size.height < kSideMax &&
      points_begin + (size.width * bits + 31) / 32 * 4 * size.height > file.size())
    return cut_off("BMP");
  return size;
}

Result<Size> size_of_webp_file(std::string_view file) {
  constexpr size_t kBeforeContent = 8;
  if (little_endian(file, 4, 4) > file.size() - kBeforeContent) return cut_off("WebP");
  ASSIGN_OR_RETURN(const WebpSize found, size_of_webp(file));
  return Size{.width = found.width,
              .height = found.height,
              .bytes_per_point = found.is_animated ? kAnimatedWebpBytes : kWebpBytes};
}

std::optional<const char*> format_of(std::string_view file) {
  if (file.starts_with("\x89PNG\r\n\x1a\n")) return "PNG";
  if (file.starts_with("\xFF\xD8\xFF")) return "JPEG";
  if (file.starts_with("GIF87a") || file.starts_with("GIF89a")) return "GIF";
  if (file.starts_with("BM")) return "BMP";
  if (is_webp(file)) return "WebP";
  return std::nullopt;
}

Failure not_read(std::string_view file) {
  std::string what = "the data is no image";
  if (file.size() >= 12 && file.substr(4, 4) == "ftyp") what = "the image is HEIC, AVIF or a film";
  if (file.starts_with("II*") || file.starts_with("MM")) what = "the image is TIFF";
  if (file.empty()) what = "the image is empty";
  return bad_image(what + "; PNG, JPEG, GIF, BMP and WebP are read");
}

}  // namespace

Result<ImageFacts> inspect_image_file(std::string_view file, uint64_t work_bytes_max) {
  const auto format = format_of(file);
  if (!format) return not_read(file);
  const auto size = [&]() -> Result<Size> {
    switch (**format) {
      case 'P':
        return size_of_png(file);
      case 'J':
        return size_of_jpeg(file);
      case 'G':
        return size_of_gif(file);
      case 'W':
        return size_of_webp_file(file);
      default:
        return size_of_bmp(file);
    }
  };
  ASSIGN_OR_RETURN(const Size found, size());
  if (found.width == 0 || found.height == 0) return bad_image(fmt::format("the {} image has no points", *format));
  const ImageFacts facts{.format = *format,
                         .width = found.width,
                         .height = found.height,
                         .work_bytes = found.width > kSideMax || found.height > kSideMax
                                           ? UINT64_MAX
                                           : found.width * found.height * found.bytes_per_point};
  if (facts.work_bytes > work_bytes_max)
    return bad_image(
        fmt::format("the image of {} x {} points is too large: at most {} million points of {} are decoded, "
                    "and {} on a side",
                    facts.width, facts.height, work_bytes_max / found.bytes_per_point / 1'000'000, *format, kSideMax));
  return facts;
}

}  // namespace spillway
