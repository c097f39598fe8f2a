// SPDX-License-Identifier: MIT
#include "engine/webp_writer.h"

#include <webp/encode.h>
#include <webp/mux.h>

#include <cstring>
#include <memory>

#include "base/check.h"

namespace spillway {
namespace {

uint32_t number_at(const std::string& bytes, size_t at) {
  uint32_t value = 0;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

int width_of(const std::string& bmp) { return static_cast<int>(number_at(bmp, 18)); }
int height_of(const std::string& bmp) { return static_cast<int>(number_at(bmp, 22)); }

}  // namespace

std::string points_of(const std::string& bmp) {
  const size_t width = number_at(bmp, 18), height = number_at(bmp, 22), row_bytes = (3 * width + 3) / 4 * 4;
  std::string points;
  for (size_t y = height; y-- > 0;)
    for (size_t x = 0; x < width; ++x) {
      const char* point = bmp.data() + number_at(bmp, 10) + y * row_bytes + x * 3;
      points += {point[2], point[1], point[0]};
    }
  return points;
}

std::string webp_of(const std::string& bmp) {
  const std::string points = points_of(bmp);
  uint8_t* out = nullptr;
  const size_t bytes = WebPEncodeLosslessRGB(reinterpret_cast<const uint8_t*>(points.data()), width_of(bmp),
                                             height_of(bmp), 3 * width_of(bmp), &out);
  CHECK(bytes > 0);
  std::string file(reinterpret_cast<const char*>(out), bytes);
  WebPFree(out);
  return file;
}

std::string animated_webp_of(const std::vector<std::string>& bmps) {
  WebPAnimEncoderOptions options;
  WebPConfig config;
  CHECK(WebPAnimEncoderOptionsInit(&options) && WebPConfigInit(&config));
  config.lossless = 1;
  config.exact = 1;
  WebPAnimEncoder* encoder = WebPAnimEncoderNew(width_of(bmps.front()), height_of(bmps.front()), &options);
  int at_ms = 0;
  for (const std::string& bmp : bmps) {
    const std::string points = points_of(bmp);
    WebPPicture picture;
    CHECK(WebPPictureInit(&picture));
    picture.use_argb = 1;
    picture.width = width_of(bmp);
    picture.height = height_of(bmp);
    CHECK(WebPPictureImportRGB(&picture, reinterpret_cast<const uint8_t*>(points.data()), 3 * width_of(bmp)));
    CHECK(WebPAnimEncoderAdd(encoder, &picture, at_ms, &config));
    WebPPictureFree(&picture);
    at_ms += 100;
  }
  CHECK(WebPAnimEncoderAdd(encoder, nullptr, at_ms, nullptr));
  WebPData data;
  WebPDataInit(&data);
  CHECK(WebPAnimEncoderAssemble(encoder, &data));
  std::string file(reinterpret_cast<const char*>(data.bytes), data.size);
  WebPDataClear(&data);
  WebPAnimEncoderDelete(encoder);
  return file;
}

}  // namespace spillway
