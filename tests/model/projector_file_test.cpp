// SPDX-License-Identifier: MIT
// What libmtmd touches without asking is there, before it is loaded.
#include "model/projector_file.h"

#include <gmock/gmock.h>

#include "../os/temp_folder.h"
#include "gguf_bytes.h"

namespace spillway {
namespace {

using testing::HasSubstr;

GgufBytes projector_of_blocks(const std::vector<std::string>& blocks) {
  GgufBytes projector;
  projector.key("general.architecture", "clip")
      .key("clip.projector_type", "any")
      .key_bool("clip.has_vision_encoder", true)
      .key_u32("clip.vision.block_count", 2)
      .key_u32("clip.vision.patch_size", 14)
      .key_u32("clip.vision.image_size", 28);
  for (const std::string& block : blocks) projector.tensor({"v.blk." + block + ".attn_q.weight", {32, 32}});
  return projector;
}

TEST(ProjectorFile, EachBlockHasWhatTheOthersHaveUnderTheNameThatIsAskedFor) {
  const TempFolder folder;
  const auto open = [&](const std::vector<std::string>& blocks) {
    return open_projector_file(folder.write("mmproj.gguf", projector_of_blocks(blocks).bytes()));
  };
  const auto whole = open({"0", "1"});
  EXPECT_TRUE(whole) << whole.error().message();
  for (const char* other : {"01", "00", "2", "x"}) {
    const auto lacking = open({"1", other});
    ASSERT_FALSE(lacking) << other;
    EXPECT_THAT(lacking.error().message(), HasSubstr("1 of its 2 blocks have a tensor attn_q.weight"));
  }
}

}  // namespace
}  // namespace spillway
