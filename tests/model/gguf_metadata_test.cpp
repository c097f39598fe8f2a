// SPDX-License-Identifier: MIT
#include "model/gguf_metadata.h"

#include <gmock/gmock.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "../os/temp_folder.h"
#include "gguf_bytes.h"
#include "model/gguf_facts.h"
#include "model/gguf_model.h"
#include "model/manifest.h"
#include "model/modelfile.h"

namespace spillway {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using testing::StartsWith;

class GgufMetadataTest : public testing::Test {
 protected:
  Result<GgufMetadata> read(std::string_view bytes, const GgufMetadataOptions& options = {}) {
    const auto file = open_file(folder_.write("model.gguf", bytes), {.direct = false});
    return read_gguf_metadata(**file, options);
  }
  TempFolder folder_;
};

TEST_F(GgufMetadataTest, EveryKindOfValueIsTold) {
  const auto metadata = read(GgufBytes()
                                 .key("text", "a\xff")
                                 .key_u16("u16", 65535)
                                 .key_i32("i32", -5)
                                 .key_u64("u64", UINT64_MAX)
                                 .key_f32("f32", 1e-6f)
                                 .key_u32s("few", {1, 2, 3})
                                 .key_strings("many", {"a", "b", "c", "d", "e", "f"})
                                 .tensor({"w", {32, 2}, 8})
                                 .bytes());
  ASSERT_TRUE(metadata) << metadata.error().message();
  EXPECT_EQ(metadata->keys.dump(),
            "{\"text\":\"a\xef\xbf\xbd\",\"u16\":65535,\"i32\":-5,\"u64\":18446744073709551615,\"f32\":1e-06,"
            "\"few\":[1,2,3],\"many\":[]}");
  EXPECT_EQ(metadata->number("u64"), UINT64_MAX);
  EXPECT_EQ(metadata->number("i32"), 0u);
  EXPECT_EQ(metadata->number("text"), 0u);
  EXPECT_EQ(metadata->text("u16"), "");
  EXPECT_EQ(metadata->n_params, 64u);
  EXPECT_THAT(metadata->tensors, IsEmpty());
}

// A sparse file costs whoever made it nothing.
class SparseGguf {
 public:
  SparseGguf(const TempFolder& folder, uint64_t n_keys)
      : path_(folder.at("sparse.gguf")), file_(path_, std::ios::binary) {
    write<uint32_t>(0x46554747);
    write<uint32_t>(3);
    write<uint64_t>(0);
    write<uint64_t>(n_keys);
  }
  template <typename T>
  void write(T value) {
    file_.write(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void text(const std::string& key, uint64_t bytes) {
    begin(key, 8);
    write<uint64_t>(bytes);
    skip(bytes);
  }
  void array(const std::string& key, uint32_t type, uint64_t count, uint64_t bytes) {
    begin(key, 9);
    write<uint32_t>(type);
    write<uint64_t>(count);
    skip(bytes);
  }
  std::unique_ptr<File> open() {
    file_.close();
    std::filesystem::resize_file(path_, end_ + 100);
    return open_file(path_, {.direct = false}).value();
  }

 private:
  void begin(const std::string& key, uint32_t type) {
    write<uint64_t>(key.size());
    file_.write(key.data(), static_cast<std::streamsize>(key.size()));
    write(type);
  }
  void skip(uint64_t bytes) {
    end_ = static_cast<uint64_t>(file_.tellp()) + bytes;
    file_.seekp(static_cast<std::streamoff>(end_));
  }

  const std::string path_;
  std::ofstream file_;
  uint64_t end_ = 0;
};

TEST_F(GgufMetadataTest, WhatIsLargerThanAnyModelsIsRefusedOrPassedOverUnread) {
  {
    // Long texts are left out, and the rest is there.
    SparseGguf sparse(folder_, 20);
    for (int i = 0; i < 19; ++i) sparse.text("key" + std::to_string(i), 20 << 20);
    sparse.text("last", 3);
    const auto file = sparse.open();
    const auto metadata = read_gguf_metadata(*file);
    ASSERT_TRUE(metadata) << metadata.error().message();
    EXPECT_EQ(metadata->keys.size(), 1u);
    EXPECT_EQ(metadata->text("last").size(), 3u);
    const auto some = read_gguf_metadata(*file, {.text_bytes_max = 50 << 20});
    ASSERT_TRUE(some);
    EXPECT_EQ(some->keys.size(), 3u) << "as many as there is room for together";
    const auto none = read_gguf_metadata(*file, {.wanted = [](std::string_view key) { return key == "key7"; }});
    ASSERT_TRUE(none);
    EXPECT_TRUE(none->keys.empty());
  }
  {
    SparseGguf sparse(folder_, 200);
    for (int i = 0; i < 200; ++i) sparse.text("key" + std::to_string(i), 16 << 20);
    EXPECT_THAT(read_gguf_metadata(*sparse.open()).error().message(), HasSubstr("more than 512"));
  }
  {
    SparseGguf sparse(folder_, 1);
    sparse.array("tokens", 8, 100'000'000, 900'000'000);
    EXPECT_THAT(read_gguf_metadata(*sparse.open()).error().message(), HasSubstr("an array of 100000000"));
  }
  {
    SparseGguf sparse(folder_, 1'000'000);
    sparse.array("x", 0, 10, 100'000'000);
    const auto file = sparse.open();
    EXPECT_THAT(read_gguf_metadata(*file).error().message(), HasSubstr("1000000 keys"));
    EXPECT_THAT(open_gguf_model(file->path()).error().message(), HasSubstr("1000000 keys"));
  }
}

// Beside what they are in the file, ggml's reader keeps an object for each text: 64 million empty ones took 2 GB.
TEST_F(GgufMetadataTest, TextsCountAsWhatTheyTakeInMemory) {
  const auto file_with = [&](uint64_t n_texts) {
    SparseGguf sparse(folder_, 28);
    for (int i = 0; i < 27; ++i) sparse.text("key" + std::to_string(i), 16 << 20);
    sparse.array("texts", 8, n_texts, n_texts * 8);
    return sparse.open();
  };
  EXPECT_TRUE(read_gguf_metadata(*file_with(100'000)));
  EXPECT_THAT(read_gguf_metadata(*file_with(3'000'000)).error().message(), HasSubstr("more than 512"));
}

TEST_F(GgufMetadataTest, ArraysThatAreTooLargeToBeShownAreEmpty) {
  GgufBytes gguf;
  gguf.key_strings("long", {"12345", "678901", "x"}).key_strings("short", {"12345", "67890"}).key_u32("number", 7);
  const auto some = read(gguf.bytes(), {.array_elements_max = SIZE_MAX, .text_bytes_max = 10});
  ASSERT_TRUE(some) << some.error().message();
  EXPECT_EQ(some->keys.dump(), R"({"long":[],"short":["12345","67890"],"number":7})");
  const auto many = read(GgufBytes().key_u32s("many", std::vector<uint32_t>((1 << 21) + 1)).key_u32("n", 7).bytes(),
                         {.array_elements_max = SIZE_MAX});
  ASSERT_TRUE(many) << many.error().message();
  EXPECT_EQ(many->keys.dump(), R"({"many":[],"n":7})");
}

TEST_F(GgufMetadataTest, NamesLongerThanAnyKeysAreRefused) {
  EXPECT_TRUE(read(GgufBytes().key_u32(std::string(256, 'k'), 1).bytes()));
  EXPECT_THAT(read(GgufBytes().key_u32(std::string(257, 'k'), 1).bytes()).error().message(),
              HasSubstr("a name that is no name"));
}

// ggml's reader compares each with all before it.
TEST_F(GgufMetadataTest, MoreKeysOrTensorsThanAnyModelHasAreRefusedBeforeGgmlReadsThem) {
  const auto file_of = [&](int n_keys, int n_tensors) {
    GgufBytes gguf;
    for (int i = 0; i < n_keys; ++i) gguf.key_u32("key" + std::to_string(i), 1);
    for (int i = 0; i < n_tensors; ++i) gguf.tensor({"tensor" + std::to_string(i), {1}});
    return folder_.write("many.gguf", gguf.bytes());
  };
  const std::string most = file_of(8192, 16'384);
  EXPECT_TRUE(read_gguf_metadata(*open_file(most, {.direct = false}).value()));
  EXPECT_TRUE(check_gguf_file(most));
  EXPECT_THAT(check_gguf_file(file_of(8193, 1)).error().message(), HasSubstr("8193 keys"));
  EXPECT_THAT(check_gguf_file(file_of(1, 16'385)).error().message(), HasSubstr("16385 tensors"));
}

TEST_F(GgufMetadataTest, ClaimsOfAHugeSparseFileAreNotBelievedEither) {
  for (const uint64_t bytes : {uint64_t{1} << 41, uint64_t{1} << 60, UINT64_MAX - 40}) {
    const auto metadata = read(GgufBytes().key_text_claim("x", bytes).bytes());
    ASSERT_FALSE(metadata);
    EXPECT_THAT(metadata.error().message(), HasSubstr("damaged"));
  }
  constexpr uint64_t kMany = uint64_t{1} << 40;
  SparseGguf sparse(folder_, 1);
  sparse.array("tokens", 0, kMany, kMany);
  const auto file = sparse.open();
  EXPECT_THAT(read_gguf_metadata(*file).error().message(), HasSubstr("an array of 1099511627776"));
  EXPECT_THAT(open_gguf_model(file->path()).error().message(), HasSubstr("an array of 1099511627776"));
}

// In a process of its own, which may have 128 MiB more than it has: what is allowed of metadata, all of which ggml's
// reader keeps, does not fit.
TEST_F(GgufMetadataTest, MetadataThatMemoryHasNoRoomForEndsItsLoadAlone) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizers reserve more address space than any limit allows";
#endif
  testing::GTEST_FLAG(death_test_style) = "threadsafe";  // begun anew: tests before leave memory that their heap keeps
  SparseGguf sparse(folder_, 24);
  for (int i = 0; i < 24; ++i) sparse.array("key" + std::to_string(i), 0, 16 << 20, 16 << 20);
  const std::string path = sparse.open()->path();
  const auto in_little_memory = [&path] {
    std::ifstream statm("/proc/self/statm");
    uint64_t pages = 0;
    statm >> pages;
    const rlim_t bytes = pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)) + (128u << 20);
    const rlimit limit{bytes, bytes};
    if (pages == 0 || setrlimit(RLIMIT_AS, &limit) != 0) std::_Exit(3);
    const auto model = open_gguf_model(path);
    std::_Exit(!model && model.error().code() == Code::kOutOfBudget ? 0 : 1);
  };
  EXPECT_EXIT(in_little_memory(), testing::ExitedWithCode(0), "");
}

TEST_F(GgufMetadataTest, AskedForEverythingItTellsArraysAndTensors) {
  const auto metadata = read(small_moe().bytes(), {.array_elements_max = SIZE_MAX, .tensors = true});
  ASSERT_TRUE(metadata) << metadata.error().message();
  EXPECT_THAT(metadata->keys["tokenizer.ggml.tokens"], ElementsAre("a", "b", "c", "<|end|>"));
  EXPECT_THAT(metadata->tensors, SizeIs(10));
  EXPECT_EQ(metadata->tensors[0].name, "token_embd.weight");
  EXPECT_EQ(metadata->tensors[0].type, "Q8_0");
  // The same as the engine's reader counts.
  EXPECT_EQ(metadata->n_params, open_gguf_model(folder_.at("model.gguf")).value().n_params);
}

TEST_F(GgufMetadataTest, AFileThatEndsAnywhereIsRefusedInOneLine) {
  const std::string whole = small_moe().bytes();
  const size_t metadata_bytes = whole.find("output.weight") + 60;
  for (size_t bytes = 0; bytes < metadata_bytes; bytes += 7) {
    const auto metadata = read(std::string_view(whole).substr(0, bytes));
    if (metadata) continue;  // all of the metadata is there
    EXPECT_THAT(metadata.error().message(), StartsWith(folder_.path()));
    EXPECT_EQ(metadata.error().message().find('\n'), std::string::npos);
  }
  EXPECT_FALSE(read(std::string_view(whole).substr(0, 200)));
}

TEST_F(GgufMetadataTest, ClaimsBeyondTheFileAreNotBelieved) {
  for (const uint64_t claimed : {uint64_t{1'000'000}, uint64_t{1} << 40, UINT64_MAX})
    for (const GgufType type : {GgufType::kU8, GgufType::kString, GgufType::kU64, GgufType::kArray}) {
      const auto metadata = read(GgufBytes().key_array_claim("x", type, claimed).bytes());
      ASSERT_FALSE(metadata);
      EXPECT_THAT(metadata.error().message(), HasSubstr("damaged"));
    }
}

TEST(GgufParts, PartsAreNamedFromAnyOfThem) {
  const GgufParts parts = gguf_parts("/a/m-00002-of-00003.gguf");
  EXPECT_THAT(parts.paths,
              ElementsAre("/a/m-00001-of-00003.gguf", "/a/m-00002-of-00003.gguf", "/a/m-00003-of-00003.gguf"));
  EXPECT_EQ(parts.named, 1u);
  for (const char* path : {"m.gguf", "m-00000-of-00003.gguf", "m-00004-of-00003.gguf", "m-1-of-3.gguf", "gguf", ""})
    EXPECT_THAT(gguf_parts(path).paths, ElementsAre(path));
}

TEST(GgufParts, AreCalledAsTheOneThatIsNamedInCapitalsToo) {
  const GgufParts parts = gguf_parts("/a/M-00002-OF-00002.ggUf");
  EXPECT_THAT(parts.paths, ElementsAre("/a/M-00001-OF-00002.ggUf", "/a/M-00002-OF-00002.ggUf"));
  EXPECT_EQ(parts.named, 1u);
}

TEST(GgufParts, AreToldByOneNameAlone) {
  const std::string path = "/a/M-00002-OF-00003.ggUf";
  const auto name = gguf_part_name(path);
  ASSERT_TRUE(name);
  EXPECT_EQ(name->part, 2u);
  EXPECT_EQ(name->count, 3u);
  EXPECT_EQ(path.substr(0, name->stem_bytes), "/a/M");
  EXPECT_EQ(gguf_part_path(path, *name, 3), "/a/M-00003-OF-00003.ggUf");
  EXPECT_FALSE(gguf_part_name("m.gguf"));
}

// A list of names like that would take a hundred thousand names for each.
TEST(GgufParts, AreNotSoMany) {
  EXPECT_EQ(gguf_parts("m-00001-of-04096.gguf").paths.size(), kGgufPartsMax);
  EXPECT_THAT(gguf_parts("m-00001-of-99999.gguf").paths, ElementsAre("m-00001-of-99999.gguf"));
}

TEST(ModelFacts, SizesAndQuantizationsAreNamedAsPeopleNameThem) {
  EXPECT_EQ(parameter_size_text(999), "999");
  EXPECT_EQ(parameter_size_text(12'345), "12K");
  EXPECT_EQ(parameter_size_text(137'022'720), "137.02M");
  EXPECT_EQ(parameter_size_text(500'000'000), "500M");
  EXPECT_EQ(parameter_size_text(7'000'000'000), "7B");
  EXPECT_EQ(parameter_size_text(8'030'261'312), "8.0B");
  EXPECT_EQ(parameter_size_text(70'553'706'560), "70.6B");
  EXPECT_EQ(quantization_name(0), "F32");
  EXPECT_EQ(quantization_name(7), "Q8_0");
  EXPECT_EQ(quantization_name(15), "Q4_K_M");
  EXPECT_EQ(quantization_name(1024 + 18), "Q6_K");
  EXPECT_EQ(quantization_name(30), "IQ4_XS");
  EXPECT_EQ(quantization_name(32), "BF16");
  EXPECT_EQ(quantization_name(38), "MXFP4");
  EXPECT_EQ(quantization_name(41), "Q2_0");
  for (const uint64_t gone : {4u, 33u, 42u, 1000u}) EXPECT_EQ(quantization_name(gone), "unknown");
}

TEST(Manifest, WhatIsWrittenIsReadAgain) {
  const std::string digest = "sha256:" + std::string(64, 'a');
  const Manifest manifest{.config = {.media_type = "x", .digest = digest, .size_bytes = 3, .from = {}},
                          .layers = {{media_type_of(LayerKind::kModel), digest, 7, "base:latest"},
                                     {media_type_of(LayerKind::kMessages), "sha256:" + std::string(64, 'b'), 1, ""}}};
  const Manifest again = parse_manifest(manifest_text(manifest)).value();
  EXPECT_EQ(again.size_bytes(), 11u);
  EXPECT_EQ(again.layers[0].kind(), LayerKind::kModel);
  EXPECT_EQ(again.layers[0].from, "base:latest");
  EXPECT_EQ(again.layers[1].kind(), LayerKind::kMessages);
  EXPECT_THAT(again.digests(), SizeIs(2));
}

TEST(Manifest, IsTextWhateverIsInItsConfig) {
  EXPECT_THAT(config_text({.format = "gguf",
                           .family = "a\xff",
                           .parameter_size = {},
                           .quantization = {},
                           .families = {},
                           .renderer = "\xc3",
                           .parser = {},
                           .requires_version = {}}),
              HasSubstr("\"renderer\":\"\xef\xbf\xbd\""));
}

TEST(Modelfile, ParametersOfAWrongKindAreLeftOutAlone) {
  using Json = nlohmann::ordered_json;
  const Json usable = usable_parameters({{"stop", {"x"}}, {"bad", nullptr}, {"num_ctx", 8}, {"worse", {1}}});
  EXPECT_EQ(usable, (Json{{"stop", {"x"}}, {"num_ctx", 8}}));
  EXPECT_EQ(usable_parameters(Json::array({1})), Json::object());
}

TEST(Modelfile, ParametersOfAWrongKindAreNamed) {
  using Json = nlohmann::ordered_json;
  EXPECT_TRUE(check_parameters(Json{{"a", 1}, {"b", 0.5}, {"c", true}, {"d", "x"}, {"stop", {"x", "y"}}}));
  for (const Json& wrong : {Json(nullptr), Json(Json::object()), Json{1, 2}}) {
    const auto outcome = check_parameters({{"bad", wrong}});
    ASSERT_FALSE(outcome) << wrong;
    EXPECT_THAT(outcome.error().message(), HasSubstr("\"bad\""));
  }
}

}  // namespace
}  // namespace spillway
