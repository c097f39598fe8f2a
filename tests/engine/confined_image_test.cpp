// SPDX-License-Identifier: MIT
// The child is this program: see main() below.
#include "engine/confined_image.h"

#include <gmock/gmock.h>
#include <sys/resource.h>

#include <cstring>

#include "base/bytes.h"
#include "engine/image_bombs.h"
#include "engine/image_file.h"
#include "engine/projector_writer.h"
#include "engine/webp_writer.h"
#include "os/own_program.h"

namespace spillway {
namespace {

using testing::HasSubstr;

constexpr uint64_t kWork = 144 * MiB;

std::string refusal_of(const std::string& file) {
  const auto picture = decode_image(file, kWork);
  return picture ? "decoded" : picture.error().message();
}

// Of the largest child so far.
uint64_t child_bytes_max() {
  rusage usage{};
  getrusage(RUSAGE_CHILDREN, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) << 10;
}

TEST(ConfinedImage, HasThePointsThatItHasHere) {
  const std::string bmp = bmp_picture(311, 173, 1);
  for (const std::string& file :
       {bmp, webp_of(bmp), png_of_zeros(311, 173, 173 * (1 + 311 * 3)), jpeg_of_scans(311, 173, 3)}) {
    const auto there = decode_image(file, kWork), here = decode_image_here(file, kWork);
    ASSERT_TRUE(there && here) << (there ? here : there).error().message();
    EXPECT_EQ(there->width, 311u);
    EXPECT_EQ(there->height, 173u);
    EXPECT_EQ(there->points.size(), 311u * 173 * 3);
    EXPECT_TRUE(there->points == here->points);
  }
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // memory is not bounded there
// Before larger ones are decoded: the system tells of the largest child alone.
TEST(ConfinedImage, OneThatGrowsBeyondItsSizeIsRefused) {
  EXPECT_EQ(refusal_of(png_of_zeros(1024, 1024, 1024 * (1 + 1024 * 3))), "decoded");
  EXPECT_EQ(refusal_of(webp_of_prefix_codes(64, 64)), "decoded");
  const uint64_t before = child_bytes_max();
  EXPECT_THAT(refusal_of(png_of_zeros(64, 64, 256 * MiB)), HasSubstr("cannot be decoded"));
  EXPECT_THAT(refusal_of(webp_of_prefix_codes(1024, 1024)), HasSubstr("WebP image is damaged"));
  EXPECT_LT(child_bytes_max(), before + 64 * MiB);
}
#endif

// At its bound, with little to compress: the file is as large as its points.
TEST(ConfinedImage, MayBeAsLargeAsImagesMayBe) {
  constexpr uint32_t kSide = 4300;
  const std::string bmp = bmp_picture(kSide, kSide, 1);
  ASSERT_TRUE(inspect_image_file(bmp, kWork));
  const auto picture = decode_image(bmp, kWork);
  ASSERT_TRUE(picture) << picture.error().message();
  EXPECT_TRUE(picture->points == points_of(bmp));
  EXPECT_EQ(refusal_of(jpeg_of_scans(3500, 3500, 10)), "decoded");
}

TEST(ConfinedImage, WhatIsNoneIsRefusedAsItIsHere) {
  for (const std::string& file : {std::string("no image"), std::string(), png_of_zeros(64, 64, 100),
                                  bmp_picture(31, 17).substr(0, 100), webp_of(bmp_picture(31, 17)).substr(0, 40)}) {
    const auto there = decode_image(file, kWork), here = decode_image_here(file, kWork);
    ASSERT_FALSE(there || here);
    EXPECT_EQ(there.error().code(), Code::kInvalidArgument);
    EXPECT_EQ(there.error().message(), here.error().message());
  }
}

TEST(ConfinedImage, OneWhoseDecoderCannotBeStartedSaysSo) {
  confine_images_to("/no/such/program");
  EXPECT_THAT(refusal_of(bmp_picture(31, 17)), HasSubstr("/no/such/program"));
  confine_images_to(own_program());
}

}  // namespace
}  // namespace spillway

int main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], spillway::kImageArgument) == 0) {
    spillway::answer_as_image_decoder();
    return 0;
  }
  spillway::confine_images_to(spillway::own_program());
  testing::InitGoogleMock(&argc, argv);
  return RUN_ALL_TESTS();
}
