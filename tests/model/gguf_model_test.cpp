// SPDX-License-Identifier: MIT
#include "model/gguf_model.h"

#include <ggml.h>
#include <gguf.h>
#include <gmock/gmock.h>
#include <sys/resource.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <random>

#include "../os/temp_folder.h"
#include "gguf_bytes.h"
#include "model/gguf_facts.h"
#include "model/gguf_metadata.h"

namespace spillway {
namespace {

using testing::AllOf;
using testing::AnyOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;
using testing::StartsWith;

class GgufModelTest : public testing::Test {
 protected:
  Result<GgufModel> open(const GgufBytes& gguf) { return open_bytes(gguf.bytes()); }
  Result<GgufModel> open_bytes(std::string_view bytes) {
    path_ = folder_.write("model.gguf", bytes);
    return open_gguf_model(path_);
  }

  // Refused with this code, in one line that begins with the path and holds `words`.
  void expect_refused(const Result<GgufModel>& model, Code code, const std::string& words) {
    ASSERT_FALSE(model);
    EXPECT_EQ(code_name(model.error().code()), std::string(code_name(code))) << model.error().message();
    EXPECT_THAT(model.error().message(), AllOf(StartsWith(path_ + ": "), HasSubstr(words), Not(HasSubstr("\n"))));
  }

  TempFolder folder_;
  std::string path_;
};

std::string expert_name(int layer) { return "blk." + std::to_string(layer) + ".ffn_up_exps.weight"; }

const TensorInfo& tensor_named(const GgufModel& model, const std::string& name) {
  for (const TensorInfo& tensor : model.tensors)
    if (tensor.name == name) return tensor;
  ADD_FAILURE() << "no tensor " << name;
  return model.tensors.front();
}

// --- right files
// -------------------------------------------------------------------------------------------------------

TEST_F(GgufModelTest, TellsWhatAModelConsistsOf) {
  const auto model = open(small_moe());
  ASSERT_TRUE(model) << model.error().message();
  EXPECT_EQ(model->architecture, "qwen3moe");
  EXPECT_EQ(model->name, "Small");
  EXPECT_EQ(model->n_layer, 2u);
  EXPECT_EQ(model->n_embd, 32u);
  EXPECT_EQ(model->n_ctx_train, 4096u);
  EXPECT_EQ(model->n_expert, 4u);
  EXPECT_EQ(model->n_expert_used, 2u);
  EXPECT_TRUE(model->has_tokenizer);
  EXPECT_TRUE(model->has_output);
  EXPECT_THAT(model->tensors, SizeIs(10));
  EXPECT_THAT(model->paths(), ElementsAre(path_));
  EXPECT_EQ(model->n_params, 2 * 32u * 64 + 2 * (32 * 32 + 32 + 32 * 4 + 32 * 64 * 4));
}

TEST_F(GgufModelTest, KeepsTheNumbersOfItsArchitecture) {
  const auto model = open(small_moe()
                              .key_u32s("qwen3moe.attention.head_count_kv", {2, 0})
                              .key_i32("qwen3moe.attention.sliding_window", -1)
                              .key_u32("other.attention.head_count", 7));
  ASSERT_TRUE(model) << model.error().message();
  EXPECT_EQ(model->n_vocab, 64u);
  EXPECT_EQ(model->number("expert_used_count", 0), 2);
  EXPECT_EQ(model->number("attention.sliding_window", 0), -1);
  EXPECT_EQ(model->number("attention.head_count", 5), 5) << "of another architecture";
  EXPECT_EQ(model->number("general.name", 5), 5) << "not a number";
  EXPECT_EQ(model->number_of_layer("attention.head_count_kv", 0, 9), 2);
  EXPECT_EQ(model->number_of_layer("attention.head_count_kv", 1, 9), 0);
  EXPECT_EQ(model->number_of_layer("attention.head_count_kv", 2, 9), 9) << "beyond the array";
  EXPECT_EQ(model->number_of_layer("block_count", 7, 9), 2) << "one number for all layers";
}

TEST_F(GgufModelTest, KnowsWhereEachTensorLies) {
  const std::string bytes = small_moe().bytes();
  const auto model = open_bytes(bytes);
  ASSERT_TRUE(model);
  EXPECT_EQ(model->tensors.back().range.end(), bytes.size());
  uint64_t sum = 0;
  for (size_t i = 0; i < model->tensors.size(); ++i) {
    sum += model->tensors[i].range.bytes;
    if (i == 0) continue;
    EXPECT_GE(model->tensors[i].range.offset, model->tensors[i - 1].range.end());
    EXPECT_LT(model->tensors[i].range.offset, model->tensors[i - 1].range.end() + 32);
  }
  EXPECT_EQ(model->weight_bytes(), sum);

  const TensorInfo& experts = tensor_named(*model, "blk.1.ffn_up_exps.weight");
  EXPECT_EQ(experts.role, TensorRole::kExperts);
  EXPECT_EQ(experts.layer, 1);
  EXPECT_EQ(experts.type, "q8_0");
  EXPECT_THAT(experts.shape, ElementsAre(32, 64, 4, 1));
  EXPECT_EQ(experts.slices, 4u);
  EXPECT_EQ(experts.slice_bytes(), 64u * 34);
  EXPECT_EQ(tensor_named(*model, "blk.0.attn_q.weight").slices, 1u);
  EXPECT_EQ(tensor_named(*model, "blk.0.ffn_gate_inp.weight").role, TensorRole::kRouter);
  EXPECT_EQ(tensor_named(*model, "token_embd.weight").layer, -1);
}

TEST_F(GgufModelTest, OpensWhatGgmlWrites) {
  const ggml_init_params memory{.mem_size = 1 << 20, .mem_buffer = nullptr, .no_alloc = false};
  const std::unique_ptr<ggml_context, decltype(&ggml_free)> context(ggml_init(memory), ggml_free);
  ggml_tensor* embedding = ggml_new_tensor_2d(context.get(), GGML_TYPE_F16, 64, 10);
  ggml_set_name(embedding, "token_embd.weight");
  ggml_tensor* up = ggml_new_tensor_3d(context.get(), GGML_TYPE_F32, 32, 8, 6);
  ggml_set_name(up, "blk.7.ffn_up_exps.weight");
  const std::unique_ptr<gguf_context, decltype(&gguf_free)> gguf(gguf_init_empty(), gguf_free);
  gguf_set_val_str(gguf.get(), "general.architecture", "llama");
  gguf_set_val_u32(gguf.get(), "llama.expert_count", 6);
  const std::array<int32_t, 3> per_layer{4, 6, 5};
  gguf_set_arr_data(gguf.get(), "llama.expert_used_count", GGUF_TYPE_INT32, per_layer.data(), per_layer.size());
  gguf_add_tensor(gguf.get(), embedding);
  gguf_add_tensor(gguf.get(), up);
  ASSERT_TRUE(gguf_write_to_file(gguf.get(), folder_.at("ggml.gguf").c_str(), false));

  const auto model = open_gguf_model(folder_.at("ggml.gguf"));
  ASSERT_TRUE(model) << model.error().message();
  EXPECT_EQ(model->n_expert_used, 6u);  // of values per layer the largest
  EXPECT_FALSE(model->has_output);
  EXPECT_FALSE(model->has_tokenizer);
  EXPECT_EQ(model->weight_bytes(), 64u * 10 * 2 + 32 * 8 * 6 * 4);
  EXPECT_EQ(tensor_named(*model, "blk.7.ffn_up_exps.weight").slices, 6u);
}

TEST_F(GgufModelTest, KeysOfAnUnexpectedTypeCountAsMissing) {
  GgufBytes gguf;
  gguf.key("general.architecture", "llama")
      .key_u32("general.name", 5)
      .key("llama.block_count", "two")
      .key_f32("llama.embedding_length", 32)
      .key_i32("llama.context_length", -1)
      .key_strings("llama.expert_count", {"8"})
      .key_u32s("llama.expert_used_count", {})
      .key_u32("tokenizer.ggml.model", 1)
      .key("split.count", "3")
      .tensor({"token_embd.weight", {32, 4}});
  const auto model = open(gguf);
  ASSERT_TRUE(model) << model.error().message();
  EXPECT_THAT(model->name, IsEmpty());
  EXPECT_EQ(model->n_layer + model->n_embd + model->n_ctx_train + model->n_expert + model->n_expert_used, 0u);
  EXPECT_FALSE(model->has_tokenizer);
}

TEST_F(GgufModelTest, ATensorThatIsNoMultipleOfItsExpertsIsOneSlice) {
  GgufBytes gguf;
  gguf.key("general.architecture", "llama").tensor({"blk.0.ffn_up_exps.weight", {32, 4}});
  EXPECT_EQ(open(gguf)->tensors[0].slices, 1u);
}

// What is streamed has a row for each of them.
TEST_F(GgufModelTest, ExpertsThatNoModelHasAreNoSlices) {
  const auto with = [](int64_t n_experts, int n_tensors = 1) {
    GgufBytes gguf;
    gguf.key("general.architecture", "llama");
    for (int i = 0; i < n_tensors; ++i) gguf.tensor({expert_name(i), {1, 1, n_experts}});
    return gguf;
  };
  EXPECT_EQ(open(with(1 << 16))->tensors[0].slices, 1u << 16);
  EXPECT_EQ(open(with((1 << 16) + 1))->tensors[0].slices, 1u);
  EXPECT_TRUE(open(with(1 << 16, 16)));
  expect_refused(open(with(1 << 16, 17)), Code::kCorrupt, "claims 1114112 experts in all of its tensors");
}

// --- split models
// ------------------------------------------------------------------------------------------------------

class SplitModel : public GgufModelTest {
 protected:
  static std::string part_name(int part) { return "big-0000" + std::to_string(part) + "-of-00003.gguf"; }
  // As llama.cpp splits: the metadata stands in the first part only.
  void write_parts() {
    GgufBytes first;
    first.key("general.architecture", "llama").key_u32("llama.block_count", 2);
    first.key_u16("split.no", 0).key_u16("split.count", 3).tensor({"token_embd.weight", {32, 4}});
    folder_.write(part_name(1), first.bytes());
    for (const int part : {2, 3}) {
      GgufBytes later;
      later.key_u16("split.no", static_cast<uint16_t>(part - 1)).key_u16("split.count", 3);
      later.tensor({"blk." + std::to_string(part - 2) + ".attn_q.weight", {32, 32}});
      folder_.write(part_name(part), later.bytes());
    }
    path_ = folder_.at(part_name(1));
  }
};

TEST_F(SplitModel, IsOpenedByItsFirstPart) {
  write_parts();
  const auto model = open_gguf_model(path_);
  ASSERT_TRUE(model) << model.error().message();
  EXPECT_THAT(model->paths(), ElementsAre(path_, folder_.at(part_name(2)), folder_.at(part_name(3))));
  EXPECT_EQ(tensor_named(*model, "token_embd.weight").file, 0u);
  EXPECT_EQ(tensor_named(*model, "blk.0.attn_q.weight").file, 1u);
  EXPECT_EQ(tensor_named(*model, "blk.1.attn_q.weight").file, 2u);
  EXPECT_EQ(model->n_layer, 2u);
}

TEST_F(SplitModel, AMissingPartIsNamed) {
  write_parts();
  std::filesystem::remove(folder_.at(part_name(3)));
  expect_refused(open_gguf_model(path_), Code::kNotFound, "part 3 of 3 is missing: " + folder_.at(part_name(3)));
}

TEST_F(SplitModel, ALaterPartPointsToTheFirst) {
  write_parts();
  path_ = folder_.at(part_name(2));
  expect_refused(open_gguf_model(path_), Code::kInvalidArgument, "name the first: " + folder_.at(part_name(1)));
}

TEST_F(SplitModel, ADamagedPartIsNamed) {
  write_parts();
  const std::string second = folder_.at(part_name(2));
  folder_.write(part_name(2), "GGUF");
  auto model = open_gguf_model(path_);
  path_ = second;
  expect_refused(model, Code::kCorrupt, "cut off");
}

TEST_F(SplitModel, APartUnderTheNameOfAnotherIsNamed) {
  write_parts();
  const std::string third = folder_.at(part_name(3));
  std::filesystem::copy_file(folder_.at(part_name(2)), third, std::filesystem::copy_options::overwrite_existing);
  auto model = open_gguf_model(path_);
  path_ = third;
  expect_refused(model, Code::kCorrupt, "is part 2 of 3 by its content; by its name it is part 3 of 3");
}

TEST_F(SplitModel, AWholeModelUnderTheNameOfAPartIsNamed) {
  write_parts();
  folder_.write(part_name(2), small_moe().bytes());
  auto model = open_gguf_model(path_);
  path_ = folder_.at(part_name(2));
  expect_refused(model, Code::kCorrupt, "is no part of a split by its content");
}

TEST_F(SplitModel, APartOfAnotherModelShowsInATensorThatIsThereTwice) {
  write_parts();
  GgufBytes other;
  other.key_u16("split.no", 2).key_u16("split.count", 3).tensor({"blk.0.attn_q.weight", {32, 32}});
  folder_.write(part_name(3), other.bytes());
  auto model = open_gguf_model(path_);
  path_ = folder_.at(part_name(3));
  expect_refused(model, Code::kCorrupt, "blk.0.attn_q.weight, as " + folder_.at(part_name(2)) + " does");
}

TEST_F(SplitModel, APartOfAnotherModelShowsInTheNumberOfTensors) {
  write_parts();
  GgufBytes first;
  first.key("general.architecture", "llama").key_u32("llama.block_count", 2);
  first.key_u16("split.no", 0).key_u16("split.count", 3).key_u32("split.tensors.count", 4);
  folder_.write(part_name(1), first.tensor({"token_embd.weight", {32, 4}}).bytes());
  expect_refused(open_gguf_model(path_), Code::kCorrupt, "3 tensors together, 4 are said to be there");
}

TEST_F(SplitModel, PartsHaveTogetherWhatOneFileMayHave) {
  write_parts();
  for (const int part : {2, 3}) {
    GgufBytes later;
    later.key_u16("split.no", static_cast<uint16_t>(part - 1)).key_u16("split.count", 3);
    for (int i = 0; i < 10'000; ++i) later.tensor({std::to_string(part) + "." + std::to_string(i), {1}});
    folder_.write(part_name(part), later.bytes());
  }
  const std::vector<std::string> parts = gguf_parts(path_).paths;
  const auto model = open_gguf_model(path_);
  path_ = folder_.at(part_name(3));
  expect_refused(model, Code::kCorrupt, "with it the model's parts have 20001 tensors");
  const auto facts = facts_of_files(parts);
  ASSERT_FALSE(facts);
  EXPECT_THAT(facts.error().message(), HasSubstr("with it the model's parts have 20001 tensors"));
}

// In a process of its own, which may have few files open.
TEST_F(SplitModel, MorePartsThanThereAreDescriptorsForAreRefused) {
  write_parts();
  const auto with_few_files = [&] {
    const rlimit limit{23, 23};
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) std::_Exit(3);
    const auto model = open_gguf_model(path_);
    std::_Exit(!model && model.error().code() == Code::kIo ? 0 : 1);
  };
  EXPECT_EXIT(with_few_files(), testing::ExitedWithCode(0), "");
}

TEST_F(SplitModel, PartsUnderOtherNamesAreRefusedWithTheNameThatIsNeeded) {
  write_parts();
  std::filesystem::rename(path_, folder_.at("renamed.gguf"));
  path_ = folder_.at("renamed.gguf");
  expect_refused(open_gguf_model(path_), Code::kInvalidArgument, "NAME-00001-of-00003.gguf");
}

TEST_F(SplitModel, MorePartsThanNamesCanCountAreRefused) {
  GgufBytes gguf = small_moe();
  gguf.key_u64("split.count", UINT64_MAX);
  expect_refused(open(gguf), Code::kInvalidArgument, "one of 18446744073709551615 parts");
}

// --- damaged files
// -----------------------------------------------------------------------------------------------------

TEST_F(GgufModelTest, AnEmptyFileIsCorrupt) { expect_refused(open_bytes(""), Code::kCorrupt, "download it again"); }
TEST_F(GgufModelTest, ThreeBytesAreCorrupt) { expect_refused(open_bytes("GGU"), Code::kCorrupt, "is not a GGUF file"); }
TEST_F(GgufModelTest, AHeaderCutOffIsCorrupt) {
  const std::string whole = small_moe().bytes();
  for (size_t bytes = 4; bytes < 24; ++bytes)
    expect_refused(open_bytes(whole.substr(0, bytes)), Code::kCorrupt, "download it again");
}

TEST_F(GgufModelTest, AnotherFormatIsCorrupt) {
  GgufBytes gguf = small_moe();
  gguf.magic = 0x04034b50;  // zip
  expect_refused(open(gguf), Code::kCorrupt, "is not a GGUF file");
}

TEST_F(GgufModelTest, OldAndFutureVersionsAreUnsupported) {
  for (const uint32_t version : {0u, 1u, 4u, 1000u}) {
    GgufBytes gguf = small_moe();
    gguf.version = version;
    expect_refused(open(gguf), Code::kUnsupported,
                   "GGUF version " + std::to_string(version) + " is not supported (2 to 3 are)");
  }
}

TEST_F(GgufModelTest, BigEndianFilesAreUnsupported) {
  GgufBytes gguf = small_moe();
  gguf.version = 0x03000000;
  expect_refused(open(gguf), Code::kUnsupported, "big-endian");
}

TEST_F(GgufModelTest, CountsBeyondTheFilesSizeAreCorrupt) {
  for (const uint64_t count : {uint64_t{100'000}, uint64_t{1} << 40, uint64_t{1} << 63, UINT64_MAX}) {
    GgufBytes tensors = small_moe(), keys = small_moe();
    tensors.n_tensors = count;
    expect_refused(open(tensors), Code::kCorrupt, "more than its");
    keys.n_keys = count;
    expect_refused(open(keys), Code::kCorrupt, "more than its");
  }
}

TEST_F(GgufModelTest, CountsOffByAFewAreCorrupt) {
  for (const uint64_t count : {0u, 1u, 9u, 11u, 12u}) {
    GgufBytes gguf = small_moe();
    gguf.n_keys = count;
    if (count != 10) expect_refused(open(gguf), Code::kCorrupt, "");
  }
  GgufBytes gguf = small_moe();
  gguf.n_tensors = 11;
  expect_refused(open(gguf), Code::kCorrupt, "");
}

TEST_F(GgufModelTest, AFileCutOffAnywhereIsCorrupt) {
  const std::string whole = small_moe().bytes();
  for (size_t bytes = 24; bytes < whole.size(); bytes += bytes < 1600 ? 1 : 97)
    expect_refused(open_bytes(whole.substr(0, bytes)), Code::kCorrupt, "download");
}

TEST_F(GgufModelTest, AFileCutOffInItsDataNamesTheTensor) {
  GgufBytes gguf = small_moe();
  std::string bytes = gguf.bytes();
  bytes.resize(bytes.size() - 100);
  expect_refused(open_bytes(bytes), Code::kCorrupt,
                 "the file ends inside tensor 'output.weight' (100 bytes of 8192 missing)");
}

TEST_F(GgufModelTest, OverlappingTensorsAreCorrupt) {
  GgufBytes gguf;
  gguf.key("general.architecture", "llama")
      .tensor({"a.weight", {32, 4}})
      .tensor({"b.weight", {32, 4}, 0, 256})
      .tensor({"c.weight", {32, 4}, 0, 1024});
  expect_refused(open(gguf), Code::kCorrupt, "");
}

TEST_F(GgufModelTest, TensorsBehindTheEndOrAtCrookedOffsetsAreCorrupt) {
  for (const uint64_t offset : {uint64_t{1} << 20, uint64_t{7}, uint64_t{1} << 62, UINT64_MAX - 31, UINT64_MAX}) {
    GgufBytes gguf;
    gguf.data_bytes = 4096;
    gguf.key("general.architecture", "llama").tensor({"a.weight", {32, 4}, 0, offset});
    expect_refused(open(gguf), Code::kCorrupt, "");
  }
}

TEST_F(GgufModelTest, ImpossibleShapesAndTypesAreCorrupt) {
  const int64_t huge = int64_t{1} << 40;
  const std::vector<GgufBytes::Tensor> impossible{{"a.weight", {-1, 4}},
                                                  {"a.weight", {INT64_MIN}},
                                                  {"a.weight", {huge, huge, huge}},
                                                  {"a.weight", {31, 4}, 8},
                                                  {"a.weight", {32, 4}, 4},
                                                  {"a.weight", {32, 4}, 5},
                                                  {"a.weight", {32, 4}, 999},
                                                  {"a.weight", {32, 4}, UINT32_MAX},
                                                  {"a.weight", {1, 1, 1, 1, 1}},
                                                  {std::string(5000, 'n'), {32, 4}}};
  for (const GgufBytes::Tensor& tensor : impossible) {
    GgufBytes gguf;
    gguf.data_bytes = 4096;
    gguf.key("general.architecture", "llama").tensor(tensor);
    SCOPED_TRACE(testing::PrintToString(tensor.shape) + " type " + std::to_string(tensor.type));
    expect_refused(open(gguf), Code::kCorrupt, "");
  }
}

TEST_F(GgufModelTest, TwoTensorsOrKeysOfOneNameAreCorrupt) {
  GgufBytes gguf;
  gguf.key("general.architecture", "llama").tensor({"a.weight", {32}}).tensor({"a.weight", {32}});
  expect_refused(open(gguf), Code::kCorrupt, "");
  GgufBytes keys = small_moe();
  expect_refused(open(keys.key("general.name", "again")), Code::kCorrupt, "");
}

TEST_F(GgufModelTest, ArraysThatClaimMoreThanTheFileHoldsAreCorrupt) {
  for (const GgufType type :
       {GgufType::kU8, GgufType::kU32, GgufType::kU64, GgufType::kString, GgufType::kBool, GgufType::kArray})
    for (const uint64_t count :
         {uint64_t{1} << 20, uint64_t{1} << 33, uint64_t{1} << 61, uint64_t{1} << 62, UINT64_MAX}) {
      GgufBytes gguf;
      gguf.key("general.architecture", "llama").key_array_claim("claim", type, count).tensor({"a.weight", {32}});
      SCOPED_TRACE(testing::Message() << count << " of type " << static_cast<uint32_t>(type));
      expect_refused(open(gguf), Code::kCorrupt, "");
    }
}

TEST_F(GgufModelTest, CrookedAlignmentsAreCorrupt) {
  for (const uint32_t alignment : {0u, 3u, 0x80000001u, UINT32_MAX}) {
    GgufBytes gguf = small_moe();
    expect_refused(open(gguf.key_u32("general.alignment", alignment)), Code::kCorrupt, "");
  }
  for (GgufBytes gguf : {small_moe().key("general.alignment", "32"), small_moe().key_u64("general.alignment", 32)})
    expect_refused(open(gguf), Code::kCorrupt, "");
}

TEST_F(GgufModelTest, AFileWithoutArchitectureIsNoLanguageModel) {
  GgufBytes gguf;
  gguf.key("general.name", "adapter").tensor({"a.weight", {32}});
  expect_refused(open(gguf), Code::kCorrupt, "names no architecture");
  GgufBytes number;
  number.key_u32("general.architecture", 7).tensor({"a.weight", {32}});
  expect_refused(open(number), Code::kCorrupt, "names no architecture");
}

TEST_F(GgufModelTest, AFileWithoutTensorsIsCorrupt) {
  GgufBytes gguf;
  expect_refused(open(gguf.key("general.architecture", "llama")), Code::kCorrupt, "holds no tensors");
}

// Plans loop over these, and tables are as large.
TEST_F(GgufModelTest, CountsThatNoModelHasAreCorrupt) {
  const auto with = [](const char* key, uint64_t value) {
    GgufBytes model;
    model.key("general.architecture", "llama");
    for (const auto& [name, usual] : {std::pair{"block_count", 1}, {"expert_count", 8}, {"expert_used_count", 2}})
      model.key_u64(std::string("llama.") + name, std::string_view(name) == key ? value : static_cast<uint64_t>(usual));
    return model.tensor({"token_embd.weight", {32, 64}, 8});
  };
  expect_refused(open(with("expert_used_count", 9)), Code::kCorrupt, "claims to use 9 experts in a layer that has 8");
  for (const uint64_t value : {uint64_t{1} << 32, uint64_t{1} << 40, (uint64_t{1} << 62) - 1, UINT64_MAX})
    for (const char* key : {"expert_used_count", "expert_count", "block_count"})
      expect_refused(open(with(key, value)), Code::kCorrupt, std::to_string(value));
  EXPECT_TRUE(open(with("expert_used_count", 8)));
}

// Of 2^32 slices of nothing there were 0, by which sizes were divided.
TEST_F(GgufModelTest, TensorsWithoutValuesAreCorruptAndSlicesNoMoreThanExpertsOfAModel) {
  const auto with = [](const char* name, const std::vector<int64_t>& shape) {
    GgufBytes model;
    model.key("general.architecture", "llama").key_u64("llama.block_count", 1);
    return model.tensor({"token_embd.weight", {32, 64}, 8}).tensor({name, shape});
  };
  const std::vector<std::vector<int64_t>> empty = {{0, 1, int64_t{1} << 32}, {0, 1, INT32_MAX}, {64, 0}, {0}};
  for (const std::vector<int64_t>& shape : empty)
    expect_refused(open(with("blk.0.ffn_up_exps.weight", shape)), Code::kCorrupt, "'blk.0.ffn_up_exps.weight' has no");
  const auto many = open(with("blk.0.ffn_up_exps.weight", {1, 1, 70'000}));
  ASSERT_TRUE(many) << many.error().message();
  EXPECT_EQ(many->tensors.back().slices, 1u);
  EXPECT_EQ(many->tensors.back().slice_bytes(), 280'000u);
}

TEST_F(GgufModelTest, NumbersThatNoArchitectureHasAreCorrupt) {
  GgufBytes gguf;
  gguf.key("general.architecture", "llama").tensor({"token_embd.weight", {32, 64}, 8});
  for (int i = 0; i < 64; ++i) gguf.key_u32s("llama.x" + std::to_string(i), std::vector<uint32_t>(4096));
  EXPECT_TRUE(open(gguf));
  expect_refused(open(gguf.key_u32("llama.one_more", 1)), Code::kCorrupt, "more than 262144 numbers");
}

TEST_F(GgufModelTest, WhatIsNotARegularFileIsRefused) {
  path_ = folder_.path();
  expect_refused(open_gguf_model(path_), Code::kInvalidArgument, "is a directory; name the .gguf file in it");
  path_ = folder_.at("none.gguf");
  expect_refused(open_gguf_model(path_), Code::kNotFound, "no such file");
}

// --- whatever comes
// ----------------------------------------------------------------------------------------------------

// A refusal or a model whose tensors all lie inside the file: never a crash, and no third thing.
TEST_F(GgufModelTest, AnyDamageIsSurvived) {
  TRACE_SEED();
  std::mt19937_64 random(test_seed());
  const std::string whole = small_moe().bytes();
  int refused = 0, opened = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string bytes = whole;
    // The metadata is where damage matters: half the flips go there.
    const auto place = [&] {
      return random() % (random() % 2 == 0 ? std::min<size_t>(1400, bytes.size()) : bytes.size());
    };
    for (uint64_t n = random() % 4; n > 0; --n) bytes[place()] = static_cast<char>(random());
    if (random() % 4 == 0) bytes[place()] = static_cast<char>(0xff);
    if (random() % 4 == 0) {  // a whole word, as counts and lengths are
      constexpr uint64_t kWords[] = {0, 1, 0x7fffffff, 0xffffffff, 1ull << 32, 1ull << 62, 1ull << 63, UINT64_MAX};
      const size_t at = std::min(place(), bytes.size() - 8);
      std::memcpy(bytes.data() + at, &kWords[random() % std::size(kWords)], 8);
    }
    if (random() % 8 == 0) bytes.erase(place(), random() % 64);
    if (random() % 8 == 0) bytes.insert(place(), bytes.substr(place(), random() % 64));
    if (random() % 4 == 0) bytes.resize(random() % bytes.size());
    const auto model = open_bytes(bytes);
    ++(model ? opened : refused);
    if (!model) {
      ASSERT_THAT(model.error().message(), AllOf(StartsWith(path_), Not(HasSubstr("\n")))) << round;
      continue;
    }
    for (const TensorInfo& tensor : model->tensors) {
      ASSERT_LE(tensor.range.offset, bytes.size());
      ASSERT_LE(tensor.range.bytes, bytes.size() - tensor.range.offset);
      ASSERT_EQ(tensor.slice_bytes() * tensor.slices, tensor.range.bytes);
    }
  }
  EXPECT_GT(refused, 500);
  EXPECT_GT(opened, 500);
}

}  // namespace
}  // namespace spillway
