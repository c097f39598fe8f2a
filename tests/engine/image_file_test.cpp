// SPDX-License-Identifier: MIT
#include "engine/image_file.h"

#include <gmock/gmock.h>

#include "base/bytes.h"
#include "engine/image_bombs.h"
#include "engine/marked_text.h"
#include "engine/projector_writer.h"
#include "engine/webp_image.h"
#include "engine/webp_writer.h"

namespace spillway {
namespace {

using testing::HasSubstr;

constexpr uint64_t kWork = 144 * MiB;

std::string png_of(const std::string& width_and_height, char depth = '\x08') {
  return std::string("\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR", 16) + width_and_height + depth +
         std::string("\x02\0\0\0crc.", 8) + "data IEND";
}
std::string jpeg_of(const std::string& height_and_width, bool ends = true) {
  return std::string("\xFF\xD8\xFF\xE0\0\x04..\xFF\xFF\xC2\0\x11\x08", 14) + height_and_width +
         std::string("\x03 data ", 7) + (ends ? "\xFF\xD9" : "");
}

std::string refusal_of_image(const std::string& file) {
  const auto facts = inspect_image_file(file, kWork);
  return facts ? "taken" : facts.error().message();
}

TEST(ImageFile, SaysHowLargeItIs) {
  const auto png = inspect_image_file(png_of(std::string("\0\0\x01\x02\0\0\x03\x04", 8)), kWork);
  ASSERT_TRUE(png) << png.error().message();
  EXPECT_STREQ(png->format, "PNG");
  EXPECT_EQ(png->width, 0x102u);
  EXPECT_EQ(png->height, 0x304u);
  const auto jpeg = inspect_image_file(jpeg_of("\x01\x02\x03\x04"), kWork);
  ASSERT_TRUE(jpeg) << jpeg.error().message();
  EXPECT_EQ(jpeg->height, 0x102u);
  EXPECT_EQ(jpeg->width, 0x304u);
  const auto gif = inspect_image_file(std::string("GIF89a\x10\x01\x20\0...data;", 18), kWork);
  ASSERT_TRUE(gif) << gif.error().message();
  EXPECT_EQ(gif->width, 0x110u);
  EXPECT_EQ(gif->height, 0x20u);
  const auto bmp = inspect_image_file(bmp_picture(31, 17), kWork);
  ASSERT_TRUE(bmp) << bmp.error().message();
  EXPECT_EQ(bmp->width, 31u);
  EXPECT_EQ(bmp->height, 17u);
  const auto webp = inspect_image_file(webp_of(bmp_picture(31, 17)), kWork);
  ASSERT_TRUE(webp) << webp.error().message();
  EXPECT_STREQ(webp->format, "WebP");
  EXPECT_EQ(webp->width, 31u);
  EXPECT_EQ(webp->height, 17u);
}

TEST(WebpImage, IsDecodedToItsPointsAndAnAnimationToThoseOfItsFirstPicture) {
  const std::string one = bmp_picture(31, 17, 1), other = bmp_picture(31, 17, 2);
  for (const std::string& file : {webp_of(one), animated_webp_of({one, other})}) {
    ASSERT_TRUE(inspect_image_file(file, kWork));
    const auto picture = decode_webp(file);
    ASSERT_TRUE(picture) << picture.error().message();
    EXPECT_EQ(picture->width, 31u);
    EXPECT_EQ(picture->height, 17u);
    const auto* points = reinterpret_cast<const char*>(picture->points.get());
    EXPECT_TRUE(std::string(points, 31 * 17 * 3) == points_of(one));
  }
}

// Cut off or changed anywhere, it is refused or decoded, and nothing is read behind its end (the sanitizers look).
TEST(WebpImage, NoDamageIsMoreThanAnError) {
  const std::string one = bmp_picture(31, 17, 1);
  for (const std::string& good : {webp_of(one), animated_webp_of({one, bmp_picture(31, 17, 2)})})
    for (size_t at = 0; at < good.size(); at += 1 + at / 40) {
      EXPECT_THAT(refusal_of_image(good.substr(0, at)), testing::Not("taken")) << at;
      std::string changed = good;
      changed[at] = static_cast<char>(changed[at] ^ 0xFF);
      if (!inspect_image_file(changed, MiB)) continue;
      const auto picture = decode_webp(changed);
      EXPECT_TRUE(picture || picture.error().code() == Code::kInvalidArgument) << at;
    }
}

TEST(ImageFile, IsRefusedWhereItCannotBeDecodedWithinBounds) {
  EXPECT_THAT(refusal_of_image(png_of(std::string("\0\0\x40\0\0\0\x40\0", 8))), HasSubstr("16384 x 16384"));
  EXPECT_THAT(refusal_of_image(png_of("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF")), HasSubstr("too large"));
  EXPECT_THAT(refusal_of_image(png_of(std::string("\0\x01\0\0\0\0\0\x01", 8))), HasSubstr("32768 on a side"));
  EXPECT_EQ(refusal_of_image(png_of(std::string("\0\0\x0c\0\0\0\x10\0", 8))), "taken");  // 12.6 million points
  EXPECT_THAT(refusal_of_image(png_of(std::string("\0\0\x0c\0\0\0\x10\0", 8), '\x10')), HasSubstr("too large"));
  EXPECT_THAT(refusal_of_image(png_of(std::string(8, '\0'))), HasSubstr("no points"));
}

TEST(ImageFile, IsRefusedWhereItsScansTakeTime) {
  EXPECT_EQ(refusal_of_image(jpeg_of_scans(64, 64, 500)), "taken");
  EXPECT_THAT(refusal_of_image(jpeg_of_scans(64, 64, 501)), HasSubstr("more than 500 scans"));
}

// Planes of a progressive JPEG lie beside their coefficients.
TEST(ImageFile, TakesMemoryByItsPlanesWhereItIsProgressive) {
  const std::string size("\x10\0\x0C\0", 4);  // 12.6 million points
  EXPECT_EQ(refusal_of_image(jpeg_of(size)), "taken");
  std::string four_planes = jpeg_of(size);
  four_planes[four_planes.find(size) + size.size()] = '\x04';
  EXPECT_THAT(refusal_of_image(four_planes), HasSubstr("at most 10 million points of JPEG"));
}

TEST(ImageFile, IsRefusedWhereItIsCutOffOrNoneThatIsRead) {
  const std::string png = png_of(std::string("\0\0\x01\x02\0\0\x03\x04", 8));
  EXPECT_THAT(refusal_of_image(png.substr(0, png.size() - 4)), HasSubstr("PNG image is cut off"));
  EXPECT_THAT(refusal_of_image(jpeg_of("\x01\x02\x03\x04", false)), HasSubstr("JPEG image is cut off"));
  EXPECT_THAT(refusal_of_image("\xFF\xD8\xFF"), HasSubstr("cut off"));
  EXPECT_THAT(refusal_of_image("GIF89a"), HasSubstr("cut off"));
  const std::string bmp = bmp_picture(31, 17);
  for (const size_t n : {size_t{2}, size_t{20}, size_t{31}, size_t{60}, bmp.size() - 20})
    EXPECT_THAT(refusal_of_image(bmp.substr(0, n)), HasSubstr("cut off")) << n;
  EXPECT_THAT(refusal_of_image(std::string("\0\0\0\x18"
                                           "ftypheic",
                                           12)),
              HasSubstr("HEIC"));
  EXPECT_THAT(refusal_of_image("RIFF....WEBPVP8 "), HasSubstr("WebP image is cut off"));
  EXPECT_THAT(refusal_of_image("II*.."), HasSubstr("TIFF"));
  EXPECT_THAT(refusal_of_image("<svg/>"), HasSubstr("no image"));
}

TEST(ImageMarks, AreFoundAgainAndNothingElseIs) {
  const std::string one = new_image_mark(), other = new_image_mark();
  EXPECT_NE(one, other);
  const std::string text = "a " + one + other + " image-0-mark ";
  const auto pieces = split_at_image_marks(text);
  ASSERT_EQ(pieces.size(), 4u);
  EXPECT_EQ(pieces[0].text, "a ");
  EXPECT_EQ(pieces[1].text, one);
  EXPECT_TRUE(pieces[1].is_mark && pieces[2].is_mark);
  EXPECT_EQ(pieces[2].text, other);
  EXPECT_FALSE(pieces[3].is_mark);
  EXPECT_EQ(MarkedImages::readable(text), "a [img-0][img-1] image-0-mark ");
  EXPECT_EQ(split_at_image_marks(one.substr(0, one.size() - 1)).size(), 1u);
}

TEST(ImagePlaces, AreWholeOrNothing) {
  const auto image = std::make_shared<PromptImage>();
  image->place = -3;
  image->n_positions = 2;
  image->n_tokens = 6;
  const PromptImages images = {{-3, image}};
  using Tokens = std::vector<TokenId>;
  EXPECT_TRUE(images_are_whole(Tokens{1, -3, -3, 2}, images));
  EXPECT_TRUE(images_are_whole(Tokens{-3, -3, -3, -3}, images));
  EXPECT_FALSE(images_are_whole(Tokens{1, -3, 2}, images));
  EXPECT_FALSE(images_are_whole(Tokens{1, -3, -3, -3}, images));
  EXPECT_FALSE(images_are_whole(Tokens{1, -4, -4, 2}, images));
  EXPECT_EQ(surplus_tokens(Tokens{1, -3, -3, -3, -3, 7}, images), 8u);
  EXPECT_EQ(cut_before_image(Tokens{1, -3, -3, 2}, 2), 1u);
  EXPECT_EQ(cut_before_image(Tokens{1, -3, -3, 2}, 3), 3u);
  EXPECT_EQ(cut_before_image(Tokens{1, -3, -3, -5, -5}, 3), 3u);
}

}  // namespace
}  // namespace spillway
