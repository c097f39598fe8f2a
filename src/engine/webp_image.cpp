// SPDX-License-Identifier: MIT
#include "engine/webp_image.h"

#include <webp/decode.h>
#include <webp/demux.h>

#include <cstddef>

namespace spillway {
namespace {

const uint8_t* bytes_of(std::string_view file) { return reinterpret_cast<const uint8_t*>(file.data()); }

Failure damaged_webp() { return error(Code::kInvalidArgument, "the WebP image is damaged"); }

struct AnimationDeleter {
  void operator()(WebPAnimDecoder* decoder) const { WebPAnimDecoderDelete(decoder); }
};

// The canvas as it is when the first picture was put on it. What the decoder gives belongs to it, four bytes a point.
Result<WebpPicture> first_picture(std::string_view file) {
  const WebPData data{.bytes = bytes_of(file), .size = file.size()};
  WebPAnimDecoderOptions options;
  if (WebPAnimDecoderOptionsInit(&options) == 0) return error(Code::kInternal, "libwebp is of another version");
  options.color_mode = MODE_RGBA;
  const std::unique_ptr<WebPAnimDecoder, AnimationDeleter> decoder(WebPAnimDecoderNew(&data, &options));
  WebPAnimInfo info;
  uint8_t* canvas = nullptr;
  int shown_until_ms = 0;
  if (decoder == nullptr || WebPAnimDecoderGetInfo(decoder.get(), &info) == 0 ||
      WebPAnimDecoderGetNext(decoder.get(), &canvas, &shown_until_ms) == 0)
    return damaged_webp();
  const size_t n_points = static_cast<size_t>(info.canvas_width) * info.canvas_height;
  WebpPicture picture{.width = info.canvas_width, .height = info.canvas_height, .points = {}};
  picture.points.reset(static_cast<uint8_t*>(WebPMalloc(n_points * 3)));
  if (picture.points == nullptr) return error(Code::kOutOfBudget, "no memory to decode the image with");
  for (size_t i = 0; i < n_points; ++i)
    for (size_t colour = 0; colour < 3; ++colour) picture.points[i * 3 + colour] = canvas[i * 4 + colour];
  return picture;
}

}  // namespace

void WebpDeleter::operator()(uint8_t* points) const { WebPFree(points); }

bool is_webp(std::string_view file) {
  return file.size() >= 12 && file.starts_with("RIFF") && file.substr(8, 4) == "WEBP";
}

Result<WebpSize> size_of_webp(std::string_view file) {
  WebPBitstreamFeatures features;
  const VP8StatusCode outcome = WebPGetFeatures(bytes_of(file), file.size(), &features);
  if (outcome == VP8_STATUS_NOT_ENOUGH_DATA) return error(Code::kInvalidArgument, "the WebP image is cut off");
  if (outcome != VP8_STATUS_OK) return damaged_webp();
  return WebpSize{.width = static_cast<uint64_t>(features.width),
                  .height = static_cast<uint64_t>(features.height),
                  .is_animated = features.has_animation != 0};
}

Result<WebpPicture> decode_webp(std::string_view file) {
  ASSIGN_OR_RETURN(const WebpSize size, size_of_webp(file));
  if (size.is_animated) return first_picture(file);
  int width = 0, height = 0;
  WebpPicture picture;
  picture.points.reset(WebPDecodeRGB(bytes_of(file), file.size(), &width, &height));
  if (picture.points == nullptr) return damaged_webp();
  picture.width = static_cast<uint32_t>(width);
  picture.height = static_cast<uint32_t>(height);
  return picture;
}

}  // namespace spillway
