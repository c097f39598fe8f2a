// SPDX-License-Identifier: MIT
// An adapter is held against its model before libllama sees it: what libllama would end the process for is an error.
#include "model/adapter_file.h"

#include <gmock/gmock.h>

#include <fstream>
#include <limits>

#include "../os/temp_folder.h"
#include "gguf_bytes.h"

namespace spillway {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr uint32_t kF32 = 0, kI32 = 26;

GgufBytes header(const char* architecture = "qwen3moe") {
  GgufBytes adapter;
  adapter.key("general.architecture", architecture)
      .key("general.type", "adapter")
      .key("adapter.type", "lora")
      .key_f32("adapter.lora.alpha", 16);
  return adapter;
}

GgufBytes query_adapter() {
  GgufBytes adapter = header();
  return adapter.tensor({"blk.0.attn_q.weight.lora_a", {32, 8}}).tensor({"blk.0.attn_q.weight.lora_b", {8, 32}});
}

class AdapterFileTest : public testing::Test {
 protected:
  Result<AdapterFile> open(const GgufBytes& adapter) { return open_bytes(adapter.bytes()); }
  Result<AdapterFile> open_bytes(const std::string& bytes) {
    const std::string path = write("lora.gguf", bytes);
    auto model = open_gguf_model(write("model.gguf", small_moe().bytes()), {.direct = false});
    EXPECT_TRUE(model) << model.error().message();
    return open_adapter_file(path, *model);
  }
  std::string write(const char* name, const std::string& bytes) {
    const std::string path = folder_.path() + "/" + name;
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }
  // "code: message" without the path.
  std::string refusal(const GgufBytes& adapter) {
    const auto file = open(adapter);
    return file ? "taken" : file.error().message().substr(folder_.path().size() + std::string("/lora.gguf: ").size());
  }
  TempFolder folder_;
};

TEST_F(AdapterFileTest, MatricesAndExpertsAreTaken) {
  GgufBytes adapter = query_adapter();
  adapter.tensor({"blk.1.ffn_up_exps.weight.lora_a", {32, 4, 4}})
      .tensor({"blk.1.ffn_up_exps.weight.lora_b", {4, 64, 4}})
      .tensor({"token_embd.weight.lora_a", {4, 64}})
      .tensor({"token_embd.weight.lora_b", {4, 32}})
      .tensor({"blk.0.attn_norm.weight", {32}});  // which libllama leaves out
  const auto file = open(adapter);
  ASSERT_TRUE(file) << file.error().message();
  EXPECT_EQ(file->bytes - file->graph_bytes, 4u * (2 * 32 * 8 + 32 * 4 * 4 + 4 * 64 * 4 + 4 * 64 + 4 * 32));
}

TEST_F(AdapterFileTest, WhatGraphsTakeMoreGrowsWithTheMatricesThatItChanges) {
  const auto one = open(query_adapter());
  GgufBytes adapter = query_adapter();
  adapter.tensor({"blk.1.attn_q.weight.lora_a", {32, 8}}).tensor({"blk.1.attn_q.weight.lora_b", {8, 32}});
  const auto two = open(adapter);
  ASSERT_TRUE(one && two);
  EXPECT_GE(one->graph_bytes, 128 * KiB) << "as libllama reserves it";
  EXPECT_EQ(two->graph_bytes, 2 * one->graph_bytes);
}

TEST_F(AdapterFileTest, WhatIsNoAdapterSaysWhatItIs) {
  EXPECT_EQ(refusal(small_moe()), "is a model, not a LoRA adapter");
  GgufBytes projector;
  projector.key("general.architecture", "clip").key("general.type", "mmproj").tensor({"v.weight", {32, 32}});
  EXPECT_EQ(refusal(projector), "is a projector of images or sound, not a LoRA adapter");
  EXPECT_EQ(open_bytes("PK\3\4 a zip of pytorch's").error().code(), Code::kCorrupt);
  const std::string whole = query_adapter().bytes();
  EXPECT_EQ(open_bytes(whole.substr(0, whole.size() - 100)).error().code(), Code::kCorrupt);
  const auto model = open_gguf_model(write("model.gguf", small_moe().bytes()), {.direct = false});
  EXPECT_EQ(open_adapter_file(folder_.path() + "/none.gguf", *model).error().code(), Code::kNotFound);
}

TEST_F(AdapterFileTest, AnAdapterOfAnotherModelIsRefused) {
  GgufBytes other = header("llama");
  other.tensor({"blk.0.attn_q.weight.lora_a", {32, 8}}).tensor({"blk.0.attn_q.weight.lora_b", {8, 32}});
  EXPECT_EQ(refusal(other), "is an adapter for llama, and the model is qwen3moe");
  const auto with_pair = [](const char* name, std::vector<int64_t> a, std::vector<int64_t> b) {
    GgufBytes adapter = header();
    return adapter.tensor({std::string(name) + ".lora_a", a}).tensor({std::string(name) + ".lora_b", b});
  };
  EXPECT_THAT(refusal(with_pair("blk.7.attn_q.weight", {32, 8}, {8, 32})),
              StartsWith("changes 'blk.7.attn_q.weight', which this model does not have"));
  EXPECT_THAT(refusal(with_pair("blk.0.attn_q.weight", {64, 8}, {8, 32})),
              HasSubstr("of another shape (64x8x1 and 8x32x1; this model's is 32x32x1)"));
  EXPECT_THAT(refusal(with_pair("blk.0.attn_q.weight", {32, 8}, {4, 32})), HasSubstr("of another shape"));
  // libllama compares no experts: it would end the process in the first pass.
  EXPECT_THAT(refusal(with_pair("blk.0.ffn_up_exps.weight", {32, 4, 3}, {4, 64, 3})), HasSubstr("of another shape"));
  EXPECT_THAT(refusal(with_pair("blk.0.ffn_up_exps.weight", {32, 4}, {4, 64})), HasSubstr("of another shape"));
}

TEST_F(AdapterFileTest, WhatCannotBeComputedIsRefused) {
  GgufBytes half = header();
  EXPECT_THAT(refusal(half.tensor({"blk.0.attn_q.weight.lora_a", {32, 8}})), HasSubstr("holds one half"));
  GgufBytes whole_matrix = query_adapter();
  EXPECT_THAT(refusal(whole_matrix.tensor({"blk.0.attn_q.weight", {32, 32}})),
              HasSubstr("neither .lora_a nor .lora_b"));
  GgufBytes counts = header();
  EXPECT_THAT(refusal(counts.tensor({"blk.0.attn_q.weight.lora_a", {32, 8}, kI32})
                          .tensor({"blk.0.attn_q.weight.lora_b", {8, 32}, kF32})),
              HasSubstr("is of type i32"));
  EXPECT_EQ(refusal(query_adapter().key_u32s("adapter.alora.invocation_tokens", {1, 2})),
            "is an adapter that words of the prompt invoke (aLoRA), which is not done");
  GgufBytes alpha;
  alpha.key("general.architecture", "qwen3moe")
      .key("general.type", "adapter")
      .key("adapter.type", "lora")
      .key_u32("adapter.lora.alpha", 16)
      .tensor({"blk.0.attn_q.weight.lora_a", {32, 8}})
      .tensor({"blk.0.attn_q.weight.lora_b", {8, 32}});
  EXPECT_EQ(refusal(alpha), "its adapter.lora.alpha is no finite number of 32 bits");
  GgufBytes endless;
  endless.key("general.architecture", "qwen3moe")
      .key("general.type", "adapter")
      .key("adapter.type", "lora")
      .key_f32("adapter.lora.alpha", std::numeric_limits<float>::infinity())
      .tensor({"blk.0.attn_q.weight.lora_a", {32, 8}})
      .tensor({"blk.0.attn_q.weight.lora_b", {8, 32}});
  EXPECT_EQ(refusal(endless), refusal(alpha));
  GgufBytes type;
  type.key("general.architecture", "qwen3moe").key("general.type", "adapter").key("adapter.type", "ia3");
  EXPECT_EQ(refusal(type.tensor({"x", {32}})), "is an adapter of type 'ia3'; only lora is known");
}

TEST(AdapterCount, SixtyFourAreTheMost) {
  EXPECT_TRUE(check_adapter_count(64));
  EXPECT_EQ(check_adapter_count(65).error().code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace spillway
