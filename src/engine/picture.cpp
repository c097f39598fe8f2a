// SPDX-License-Identifier: MIT
#include "engine/picture.h"

#include <mtmd-helper.h>
#include <mtmd.h>

#include <memory>

#include "engine/image_file.h"
#include "engine/mtmd_handles.h"
#include "engine/webp_image.h"

namespace spillway {
namespace {

Picture picture_of(uint32_t width, uint32_t height, const uint8_t* points) {
  constexpr size_t kRoomInFront = 64;  // for what a process says before them: a second copy has no room
  const size_t bytes = static_cast<size_t>(width) * height * 3;
  Picture picture{.width = width, .height = height, .points = {}};
  picture.points.reserve(bytes + kRoomInFront);
  picture.points.assign(reinterpret_cast<const char*>(points), bytes);
  return picture;
}

}  // namespace

Result<Picture> decode_image_here(const std::string& file, uint64_t work_bytes_max) {
  RETURN_IF_ERROR(inspect_image_file(file, work_bytes_max));
  if (is_webp(file)) {
    ASSIGN_OR_RETURN(const WebpPicture picture, decode_webp(file));
    return picture_of(picture.width, picture.height, picture.points.get());
  }
  // What stb_image does not decode is given to ffprobe, as if it were a film: not to one that is found here.
  mtmd_helper_init_opt only_images = mtmd_helper_init_opt_default();
  only_images.video_params.ffmpeg_bin_dir = "/dev/null";
  // Without a context: it is asked about sound alone.
  const MtmdBitmap bitmap(mtmd_helper_bitmap_init_from_buf(nullptr, reinterpret_cast<const unsigned char*>(file.data()),
                                                           file.size(), false, only_images)
                              .bitmap);
  if (bitmap == nullptr || mtmd_bitmap_is_audio(bitmap.get()))
    return error(
        Code::kInvalidArgument,
        "the image cannot be decoded: it is damaged, of a form that is not read, or takes more than its size needs");
  return picture_of(mtmd_bitmap_get_nx(bitmap.get()), mtmd_bitmap_get_ny(bitmap.get()),
                    mtmd_bitmap_get_data(bitmap.get()));
}

}  // namespace spillway
