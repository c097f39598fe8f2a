// SPDX-License-Identifier: MIT
#include "model/gguf_kind.h"

#include <gtest/gtest.h>

#include "../os/temp_folder.h"
#include "gguf_bytes.h"

namespace spillway {
namespace {

GgufMetadata metadata_of(const std::string& bytes, const std::string& stop_before = "") {
  const TempFolder folder;
  const auto file = open_file(folder.write("x.gguf", bytes), {.direct = false}).value();
  auto metadata = read_gguf_metadata(*file, {.stop_before = stop_before});
  EXPECT_TRUE(metadata) << metadata.error().message();
  return metadata.value_or(GgufMetadata{});
}

GgufKind kind(const GgufBytes& file) { return kind_of(metadata_of(file.bytes())); }

GgufBytes with_type(const char* type, const char* architecture = "llama") {
  GgufBytes file;
  file.key("general.architecture", architecture).key("general.type", type).tensor({"blk.0.x.weight", {32, 32}});
  return file;
}

TEST(GgufKind, AHeaderSaysWhatAFileIs) {
  EXPECT_EQ(kind(small_moe()), GgufKind::kModel);
  EXPECT_EQ(kind(with_type("model")), GgufKind::kModel);
  EXPECT_EQ(kind(with_type("mmproj", "clip")), GgufKind::kProjector);
  EXPECT_EQ(kind(with_type("model", "clip")), GgufKind::kProjector) << "older ones say only that";
  EXPECT_EQ(kind(with_type("adapter")), GgufKind::kAdapter);
  EXPECT_EQ(kind(with_type("imatrix", "")), GgufKind::kImportance);
  EXPECT_EQ(kind(with_type("model", "controlvector")), GgufKind::kControlVector);
  EXPECT_EQ(kind(with_type("model", "eagle3")), GgufKind::kDrafter);
  EXPECT_EQ(kind(with_type("model", "gemma4-assistant")), GgufKind::kDrafter);
  GgufBytes lora;
  EXPECT_EQ(kind(lora.key("general.architecture", "llama").key("adapter.type", "lora").tensor({"a", {32}})),
            GgufKind::kAdapter);
  GgufBytes vocabulary;
  EXPECT_EQ(kind(vocabulary.key("general.architecture", "llama")), GgufKind::kVocabulary);
}

GgufBytes guessing(uint32_t first_layer) {
  GgufBytes file;
  file.key("general.architecture", "qwen35").key_u32("qwen35.block_count", 3).key_u32("qwen35.nextn_predict_layers", 1);
  for (uint32_t layer = first_layer; layer < 3; ++layer)
    file.tensor({"blk." + std::to_string(layer) + ".attn_q.weight", {32, 32}});
  return file;
}

TEST(GgufKind, LayersThatGuessAreADrafterOnTheirOwnAndAPartOfAModelBehindIts) {
  EXPECT_EQ(kind(guessing(2)), GgufKind::kDrafter);
  EXPECT_EQ(kind(guessing(0)), GgufKind::kModel);
  // The later part of a split model, or a first one without tensors.
  GgufBytes first = guessing(3);
  EXPECT_EQ(kind(first.key_u16("split.count", 2)), GgufKind::kModel);
}

TEST(GgufKind, TheKeysInFrontOfTheTokenizerAreEnoughForMost) {
  GgufBytes model = small_moe();
  const GgufMetadata metadata = metadata_of(model.bytes(), "tokenizer.");
  EXPECT_FALSE(metadata.is_whole);
  EXPECT_FALSE(metadata.keys.contains("tokenizer.ggml.tokens"));
  EXPECT_EQ(kind_of_keys(metadata), GgufKind::kModel);
  EXPECT_EQ(kind_of_keys(metadata_of(with_type("mmproj", "clip").bytes(), "tokenizer.")), GgufKind::kProjector);
}

TEST(GgufKind, OffsetsSayWhereKeysAndTheirListEnd) {
  const std::string bytes = small_moe().bytes();
  const GgufMetadata metadata = metadata_of(bytes);
  ASSERT_EQ(metadata.key_offsets.size(), metadata.keys.size() + 1);
  size_t i = 0;
  for (const auto& [key, value] : metadata.keys.items())
    EXPECT_EQ(bytes.substr(metadata.key_offsets[i++] + 8, key.size()), key);
  const std::string last = "output.weight";
  const size_t at = bytes.find(last);
  EXPECT_EQ(metadata.header_bytes, at + last.size() + 4 + 2 * 8 + 4 + 8);
}

}  // namespace
}  // namespace spillway
