// SPDX-License-Identifier: MIT
#include "engine/experts_of_tokens.h"

#include <gmock/gmock.h>

#include <fstream>
#include <string>

#include "../model/gguf_bytes.h"
#include "../os/temp_folder.h"

namespace spillway {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr const char* kTable = "blk.0.ffn_gate_tid2eid.weight";
constexpr uint32_t kI32 = 26;
constexpr int64_t kUsed = 2, kTokens = 16;

// Of eight experts, with a table of `expert` alone but for the last number.
Result<void> outcome_of(int32_t expert, int32_t last) {
  const TempFolder folder;
  GgufBytes bytes;
  bytes.key("general.architecture", "deepseek4")
      .key_u32("deepseek4.block_count", 1)
      .key_u32("deepseek4.expert_count", 8)
      .key_u32("deepseek4.expert_used_count", kUsed)
      .tensor({kTable, {kUsed, kTokens}, kI32});
  const std::string path = folder.write("model.gguf", bytes.bytes());
  ASSIGN_OR_RETURN(const GgufModel model, open_gguf_model(path, {.direct = false}));
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(model.tensors.front().range.offset));
  for (int64_t i = 0; i < kUsed * kTokens; ++i) {
    const int32_t number = i + 1 < kUsed * kTokens ? expert : last;
    file.write(reinterpret_cast<const char*>(&number), sizeof number);
  }
  file.close();
  return check_experts_of_tokens(model);
}

TEST(ExpertsOfTokens, AreThere) {
  for (const int32_t expert : {0, 7}) EXPECT_TRUE(outcome_of(expert, expert)) << expert;
}

TEST(ExpertsOfTokens, OneThatIsNotThereIsNamed) {
  for (const int32_t last : {8, -1, INT32_MAX, INT32_MIN}) {
    const auto outcome = outcome_of(0, last);
    ASSERT_FALSE(outcome) << last;
    EXPECT_EQ(outcome.error().code(), Code::kCorrupt);
    EXPECT_THAT(outcome.error().message(), AllOf(HasSubstr(kTable), HasSubstr(std::to_string(last))));
  }
}

}  // namespace
}  // namespace spillway
