// SPDX-License-Identifier: MIT
#include "model/catalog.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <thread>
#include <utility>

#include "../os/temp_folder.h"
#include "base/notice.h"
#include "hub_cache_folder.h"
#include "model/disk_catalog.h"
#include "model/gguf_facts.h"
#include "model/gguf_model.h"
#include "model/manifest.h"
#include "model/modelfile.h"
#include "model/projector_search.h"
#include "os/draft_file.h"
#include "os/file.h"
#include "os/folder.h"
#include "store_folder.h"

namespace spillway {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;
using testing::StartsWith;
using testing::UnorderedElementsAre;

constexpr const char* kLibrary = "registry.ollama.ai/library/";

class CatalogTest : public testing::Test {
 protected:
  std::unique_ptr<Catalog> open(std::vector<std::string> paths = {}) {
    auto catalog = Catalog::open({.own_folder = own_.path(), .ollama_folders = {ollama_.path()}, .paths = paths});
    EXPECT_TRUE(catalog) << catalog.error().message();
    return std::move(*catalog);
  }

  void ollama_model(const std::string& tail, const std::string& gguf) {
    ollama_.model(kLibrary + tail, {{"model", gguf}});
  }

  template <typename T>
  static void expect_error(const Result<T>& result, Code code, const std::string& words) {
    ASSERT_FALSE(result);
    EXPECT_STREQ(code_name(result.error().code()), code_name(code)) << result.error().message();
    EXPECT_THAT(result.error().message(), AllOf(HasSubstr(words), Not(HasSubstr("\n"))));
  }

  static std::vector<std::string> shown(const Catalog& catalog) {
    std::vector<std::string> names;
    const auto entries = catalog.list().value();
    for (const ModelEntry& entry : entries) names.push_back(entry.name.shown());
    std::sort(names.begin(), names.end());
    return names;
  }

  // A model of two parts, under the name "big".
  void create_split(Catalog& catalog) {
    GgufBytes first = chat_model(), second;
    first.key_u16("split.count", 2);
    second.key_u16("split.no", 1).key_u16("split.count", 2);
    second.tensor({"blk.1.attn_q.weight", {32, 32}, 8});
    CreateRequest request;
    request.gguf_path = folder_.write("big-00001-of-00002.gguf", first.bytes());
    folder_.write("big-00002-of-00002.gguf", second.bytes());
    ASSERT_TRUE(catalog.create("big", request));
  }

  // As an upload gives it; its digest.
  static std::string upload(Catalog& catalog, std::string_view content) {
    const std::string digest = "sha256:" + sha256_hex(content);
    auto writer = catalog.write_blob(digest).value();
    EXPECT_TRUE(writer->write(content));
    EXPECT_TRUE(writer->finish());
    return digest;
  }

  std::vector<std::string> own_blobs() const { return files_below(own_.path() + "/blobs"); }

  TempFolder folder_;
  StoreFolder own_{folder_.at("own")}, ollama_{folder_.at("ollama")};
  const std::string gguf_ = chat_model().bytes();
};

// ---- finding ----

TEST_F(CatalogTest, NothingOnDiskIsAnEmptyList) {
  const auto catalog = open();
  EXPECT_THAT(catalog->list().value(), IsEmpty());
  EXPECT_THAT(files_below(folder_.path()), IsEmpty()) << "looking writes nothing";
}

TEST_F(CatalogTest, AnOllamaModelIsReadInPlaceWithAllItBrings) {
  const std::string go_template = "{{ .System }}{{ if .Tools }}x{{ end }}{{ .Prompt }}{{ .Suffix }}";
  ollama_.model(std::string(kLibrary) + "llama3.2/3b",
                {{"model", gguf_},
                 {"template", go_template},
                 {"system", "Be brief."},
                 {"params", R"({"stop":["<a>","<b>"],"temperature":0.6,"num_ctx":4096})"},
                 {"license", "one"},
                 {"license", "two"},
                 {"messages", R"([{"role":"user","content":"hi"}])"}},
                R"({"model_format":"gguf","model_family":"llama","model_families":["llama"],"model_type":"3.2B",)"
                R"("file_type":"Q4_K_M","renderer":"r","parser":"p","requires":"0.9.0"})");
  const auto catalog = open();
  const auto entry = catalog->find("llama3.2:3b");
  ASSERT_TRUE(entry) << entry.error().message();
  EXPECT_EQ(entry->name.shown(), "llama3.2:3b");
  EXPECT_EQ(entry->source, ModelSource::kOllama);
  EXPECT_EQ(entry->path, ollama_.blob_path(gguf_));
  EXPECT_EQ(entry->details.family, "llama");
  EXPECT_EQ(entry->details.parameter_size, "3.2B");
  EXPECT_EQ(entry->details.quantization_level, "Q4_K_M");
  EXPECT_EQ(entry->details.context_length, 4096u);
  EXPECT_EQ(entry->details.embedding_length, 32u);
  EXPECT_GT(entry->size_bytes, gguf_.size());
  EXPECT_GT(entry->modified_ns, 1'600'000'000'000'000'000);
  // The digest is that of the manifest, as Ollama's is.
  std::ifstream manifest(ollama_.manifest_path(std::string(kLibrary) + "llama3.2/3b"));
  EXPECT_EQ(entry->digest, sha256_hex(std::string(std::istreambuf_iterator<char>(manifest), {})));
  // Beside a renderer the layer's template says nothing, and the GGUF's knows no tools.
  EXPECT_THAT(entry->capabilities, ElementsAre("completion"));

  const auto extras = catalog->extras("LLAMA3.2:3B");
  ASSERT_TRUE(extras) << extras.error().message();
  EXPECT_EQ(extras->template_text, go_template);
  EXPECT_EQ(extras->system, "Be brief.");
  EXPECT_THAT(extras->licenses, ElementsAre("one", "two"));
  ASSERT_THAT(extras->messages, SizeIs(1));
  EXPECT_EQ(extras->messages[0].role, "user");
  EXPECT_EQ(extras->parameters["temperature"], 0.6);
  EXPECT_EQ(extras->renderer, "r");
  EXPECT_EQ(extras->parser, "p");
  EXPECT_EQ(extras->requires_version, "0.9.0");
  EXPECT_THAT(files_below(own_.path()), IsEmpty());
}

TEST_F(CatalogTest, NamesResolveWhateverTheirCaseAndForm) {
  ollama_model("Qwen3/8B", gguf_);
  ollama_.model("hf.co/Me/It-GGUF/Q4_K_M", {{"model", gguf_}});
  const auto catalog = open();
  EXPECT_EQ(catalog->find("qwen3:8b").value().name.shown(), "Qwen3:8B");
  EXPECT_EQ(catalog->find("registry.ollama.ai/library/QWEN3:8b").value().name.shown(), "Qwen3:8B");
  EXPECT_EQ(catalog->find("hf.co/me/it-gguf:q4_k_m").value().name.shown(), "hf.co/Me/It-GGUF:Q4_K_M");
  expect_error(catalog->find("qwen3"), Code::kNotFound, "model 'qwen3' not found");
  expect_error(catalog->find("qwen3:8"), Code::kNotFound, "not found");
  expect_error(catalog->find("../qwen3:8b"), Code::kInvalidArgument, "invalid model name");
  expect_error(catalog->find("/etc/passwd"), Code::kInvalidArgument, "invalid model name");
}

TEST_F(CatalogTest, WhatIsNoModelInAStoreIsOverlooked) {
  ollama_model("good/latest", gguf_);
  write_file(ollama_.path() + "/manifests/.DS_Store", "x");
  write_file(ollama_.path() + "/manifests/registry.ollama.ai/stray", "x");
  write_file(ollama_.path() + "/manifests/registry.ollama.ai/library/bad name/latest", "{}");
  write_file(ollama_.path() + "/manifests/registry.ollama.ai/library/bad/.latest.swp", "{}");
  EXPECT_THAT(shown(*open()), ElementsAre("good:latest"));
}

TEST_F(CatalogTest, ADamagedModelIsLeftOutOfTheListWithANoticeAndNamedWhenAskedFor) {
  ollama_model("good/latest", gguf_);
  write_file(ollama_.manifest_path(std::string(kLibrary) + "text/latest"), "not json");
  write_file(ollama_.manifest_path(std::string(kLibrary) + "escape/latest"),
             R"({"layers":[{"mediaType":"application/vnd.ollama.image.model","digest":"sha256:../../x","size":1}]})");
  ollama_model("gone/latest", gguf_ + "x");
  std::filesystem::remove(ollama_.blob_path(gguf_ + "x"));
  ollama_model("cut/latest", gguf_.substr(0, 300));
  ollama_.model(std::string(kLibrary) + "mlx/latest", {{"tensor", "x"}});
  std::vector<std::string> notices;
  set_notice_sink([&](const std::string& sentence) { notices.push_back(sentence); });
  const auto catalog = open();
  EXPECT_THAT(shown(*catalog), ElementsAre("good:latest"));
  set_notice_sink(nullptr);
  EXPECT_THAT(notices, SizeIs(4));
  expect_error(catalog->find("text"), Code::kCorrupt, "no JSON object");
  expect_error(catalog->find("escape"), Code::kCorrupt, "digest");
  expect_error(catalog->find("gone"), Code::kCorrupt, "pull the model again");
  expect_error(catalog->find("cut"), Code::kCorrupt, "damaged");
  expect_error(catalog->find("mlx"), Code::kUnsupported, "no GGUF");
}

// A link to itself is for everybody, root too, what a folder of another user is for us.
TEST_F(CatalogTest, AStoreThatCanNotBeLookedIntoIsNoEmptyOne) {
  const std::string folder = own_.manifest_path("registry.ollama.ai");
  std::filesystem::create_directories(own_.manifest_path(""));
  std::filesystem::create_symlink(folder, folder);
  std::vector<std::string> notices;
  set_notice_sink([&](const std::string& sentence) { notices.push_back(sentence); });
  const auto catalog = open();
  expect_error(catalog->list(), Code::kIo, folder + ": ");
  expect_error(catalog->find("it"), Code::kIo, folder + "/library/it/latest: ");
  expect_error(catalog->remove("it"), Code::kIo, folder);
  ollama_model("theirs/latest", gguf_);
  EXPECT_THAT(notices, IsEmpty());
  EXPECT_THAT(shown(*catalog), ElementsAre("theirs:latest"));
  set_notice_sink(nullptr);
  EXPECT_THAT(notices, ElementsAre(HasSubstr(folder + ": ")));
  EXPECT_TRUE(catalog->find("theirs"));
  expect_error(catalog->copy("theirs", "it"), Code::kIo, folder);
}

TEST_F(CatalogTest, BlobsThatCanNotBeLookedAtAreNotMissing) {
  own_.model(std::string(kLibrary) + "it/latest", {{"model", gguf_}});
  const std::string blobs = own_.path() + "/blobs";
  std::filesystem::remove_all(blobs);
  std::filesystem::create_symlink(blobs, blobs);
  const auto catalog = open();
  expect_error(catalog->find("it"), Code::kIo, "symbolic links");
  expect_error(catalog->copy("it", "other"), Code::kIo, "symbolic links");
}

TEST_F(CatalogTest, PathsAreModelsNamedByTheirFilesAndASplitModelIsOne) {
  GgufBytes first = chat_model(), second;
  first.key_u16("split.count", 2);
  second.key_u16("split.no", 1).key_u16("split.count", 2);
  second.tensor({"blk.1.attn_q.weight", {32, 32}, 8});
  write_file(folder_.at("dir/big-Q8_0-00001-of-00002.gguf"), first.bytes());
  write_file(folder_.at("dir/big-Q8_0-00002-of-00002.gguf"), second.bytes());
  write_file(folder_.at("dir/small one.GGUF"), gguf_);
  GgufBytes projector;
  projector.key("general.architecture", "clip").tensor({"v.patch_embd.weight", {32, 32}});
  write_file(folder_.at("dir/vision.gguf"), projector.bytes());
  write_file(folder_.at("dir/readme.txt"), "x");
  write_file(folder_.at("alone.gguf"), gguf_);
  const auto catalog = open({folder_.at("dir"), folder_.at("alone.gguf")});
  EXPECT_THAT(shown(*catalog), ElementsAre("alone:latest", "big-Q8_0:latest", "small-one:latest"));
  const auto big = catalog->find("big-q8_0").value();
  EXPECT_EQ(big.path, folder_.at("dir/big-Q8_0-00001-of-00002.gguf"));
  EXPECT_EQ(big.source, ModelSource::kPath);
  EXPECT_EQ(big.size_bytes, first.bytes().size() + second.bytes().size());
  EXPECT_EQ(big.digest.size(), 64u);
  EXPECT_EQ(catalog->describe("big-q8_0", false).value().model_info["general.parameter_count"], 32 * 64 + 2 * 32 * 32);
  expect_error(catalog->remove("alone"), Code::kPermissionDenied, "alone.gguf");
  expect_error(catalog->find("vision"), Code::kUnsupported, "is a projector");
  EXPECT_TRUE(catalog->describe("vision", false));
}

TEST_F(CatalogTest, OneModelNamedByPathMayHaveAnotherName) {
  write_file(folder_.at("dir/brook-Q4_0.gguf"), gguf_);
  const auto with_alias = [&](std::vector<std::string> paths) {
    return Catalog::open({.own_folder = own_.path(),
                          .ollama_folders = {},
                          .paths = std::move(paths),
                          .alias = parse_model_name("our-brook").value()});
  };
  for (const char* path : {"dir", "dir/brook-Q4_0.gguf"}) {
    const auto catalog = with_alias({folder_.at(path)}).value()->list().value();
    ASSERT_EQ(catalog.size(), 1u);
    EXPECT_EQ(catalog[0].name.shown(), "our-brook:latest");
  }
  expect_error(with_alias({}), Code::kInvalidArgument, "an alias names one model; the paths that were given hold 0");
  write_file(folder_.at("dir/second.gguf"), gguf_);
  expect_error(with_alias({folder_.at("dir")}), Code::kInvalidArgument, "hold 2");
}

TEST_F(CatalogTest, PathsThatAreNoneAreRefusedAtOnce) {
  const auto refused = [&](const std::string& path) {
    return Catalog::open({.own_folder = own_.path(), .ollama_folders = {}, .paths = {path}});
  };
  expect_error(refused(folder_.at("absent.gguf")), Code::kNotFound, "no such file");
  expect_error(refused("/dev/null"), Code::kInvalidArgument, "neither");
  write_file(folder_.at("x-00002-of-00003.gguf"), gguf_);
  expect_error(refused(folder_.at("x-00002-of-00003.gguf")), Code::kInvalidArgument, "x-00001-of-00003.gguf");
}

TEST_F(CatalogTest, OurOwnModelsWinOverPathsAndPathsOverOllamas) {
  ollama_model("it/latest", gguf_);
  write_file(folder_.at("it.gguf"), gguf_);
  EXPECT_EQ(open()->find("it").value().source, ModelSource::kOllama);
  EXPECT_EQ(open({folder_.at("it.gguf")})->find("it").value().source, ModelSource::kPath);
  own_.model(std::string(kLibrary) + "it/latest", {{"model", gguf_}});
  const auto catalog = open({folder_.at("it.gguf")});
  EXPECT_EQ(catalog->find("it").value().source, ModelSource::kOwn);
  EXPECT_THAT(catalog->list().value(), SizeIs(1));
}

TEST_F(CatalogTest, WhatOtherProgramsDownloadedIsFoundUnderEveryNameThatAsksForIt) {
  const HubCacheFolder cache(folder_.at("hub"));
  GgufBytes first = chat_model(), second, drafter;
  first.key_u16("split.count", 2);
  second.key_u16("split.no", 1).key_u16("split.count", 2).tensor({"blk.1.attn_q.weight", {32, 32}, 8});
  drafter.key("general.architecture", "eagle3").tensor({"x", {32}});
  cache.file("me/it-GGUF", kCommitA, "it-Q4_K_M.gguf", gguf_);
  cache.file("me/it-GGUF", kCommitA, "Q8_0/it-Q8_0-00001-of-00002.gguf", first.bytes());
  cache.file("me/it-GGUF", kCommitA, "Q8_0/it-Q8_0-00002-of-00002.gguf", second.bytes());
  cache.file("me/it-GGUF", kCommitA, "Q2_K/it-Q2_K-00001-of-00002.gguf", first.bytes());  // half of it is here
  cache.file("me/it-GGUF", kCommitA, "it-Q5_K_M.gguf", drafter.bytes());                  // whose name lies
  cache.file("me/it-GGUF", kCommitB, "it-Q4_K_M.gguf", chat_model("", "Other").bytes());
  cache.ref("me/it-GGUF", "main", kCommitA);
  cache.ref("me/it-GGUF", "refs/pr/1", kCommitB);
  const std::string studio = folder_.at("studio");
  write_file(studio + "/you/My-Model/plain model.gguf", gguf_);
  write_file(studio + "/me/it-GGUF/it-Q4_K_M.gguf", gguf_);
  const auto catalog = Catalog::open({.own_folder = own_.path(),
                                      .ollama_folders = {},
                                      .paths = {},
                                      .hub_cache_folders = {cache.path()},
                                      .lm_studio_folders = {studio}})
                           .value();
  EXPECT_THAT(shown(*catalog),
              UnorderedElementsAre("hf.co/me/it-GGUF:Q4_K_M", "hf.co/me/it-GGUF:Q8_0",
                                   "hf.co/me/it-GGUF:Q4_K_M@refs/pr/1", "hf.co/you/My-Model:plain%20model.gguf"));
  const std::string snapshot = cache.repository_path("me/it-GGUF") + "/snapshots/" + kCommitA;
  for (const char* name : {"hf.co/me/it-GGUF", "hf.co/ME/it-gguf:q4_k_m", "hf.co/me/it-GGUF/it-Q4_K_M.gguf",
                           "https://huggingface.co/me/it-GGUF/blob/main/it-Q4_K_M.gguf", "hf.co/me/it-GGUF@0123456"}) {
    const auto entry = catalog->find(name);
    ASSERT_TRUE(entry) << name << ": " << entry.error().message();
    EXPECT_EQ(entry->path, snapshot + "/it-Q4_K_M.gguf") << name;
    EXPECT_EQ(entry->source, ModelSource::kHubCache);
  }
  EXPECT_EQ(catalog->find("hf.co/me/it-GGUF:Q8_0")->path, snapshot + "/Q8_0/it-Q8_0-00001-of-00002.gguf");
  EXPECT_THAT(catalog->find("hf.co/me/it-GGUF:Q4_K_M@refs/pr/1")->path, HasSubstr(kCommitB));
  EXPECT_EQ(catalog->find("hf.co/you/My-Model")->source, ModelSource::kLmStudio);
  for (const char* absent : {"hf.co/me/it-GGUF:Q2_K", "hf.co/me/it-GGUF:Q5_K_M", "hf.co/me/it-GGUF@v9", "me/it-GGUF"})
    expect_error(catalog->find(absent), Code::kNotFound, "not found");
  expect_error(catalog->remove("hf.co/me/it-GGUF"), Code::kPermissionDenied, "Hugging Face's cache");
  expect_error(catalog->remove("hf.co/you/My-Model"), Code::kPermissionDenied, "LM Studio");
  EXPECT_TRUE(std::filesystem::exists(snapshot + "/it-Q4_K_M.gguf"));
  ASSERT_TRUE(catalog->copy("hf.co/me/it-GGUF:Q8_0", "mine"));
  EXPECT_GE(catalog->find("mine")->size_bytes, first.bytes().size() + second.bytes().size());
}

TEST_F(CatalogTest, AFileThatChangesIsReadAgain) {
  const std::string path = folder_.at("it.gguf");
  write_file(path, gguf_);
  const auto catalog = open({path});
  const auto before = catalog->find("it").value();
  EXPECT_EQ(before.details.family, "llama");
  write_file(path, small_moe().bytes());
  const auto after = catalog->find("it").value();
  EXPECT_EQ(after.details.family, "qwen3moe");
  EXPECT_NE(after.digest, before.digest);
}

TEST_F(CatalogTest, TheNewestModelComesFirst) {
  ollama_model("old/latest", gguf_);
  ollama_model("new/latest", gguf_);
  std::filesystem::last_write_time(ollama_.manifest_path(std::string(kLibrary) + "old/latest"),
                                   std::filesystem::file_time_type::clock::now() - std::chrono::hours(1));
  const auto models = open()->list().value();
  ASSERT_THAT(models, SizeIs(2));
  EXPECT_EQ(models[0].name.model, "new");
}

// ---- describing ----

TEST_F(CatalogTest, ADescriptionHasAllMetadataAndShortArraysUnlessVerbose) {
  ollama_.model(std::string(kLibrary) + "it/latest",
                {{"model", gguf_}, {"system", "Be brief."}, {"params", R"({"stop":["<a>","<b>"],"temperature":0.6})"}});
  const auto catalog = open();
  const auto brief = catalog->describe("it").value();
  EXPECT_EQ(brief.model_info["general.architecture"], "llama");
  EXPECT_EQ(brief.model_info["llama.context_length"], 4096);
  EXPECT_EQ(brief.model_info["llama.attention.layer_norm_rms_epsilon"], 1e-6);
  EXPECT_EQ(brief.model_info["tokenizer.ggml.tokens"], nlohmann::json::array());
  EXPECT_THAT(brief.model_info["tokenizer.ggml.token_type"], SizeIs(3));
  EXPECT_FALSE(brief.model_info.contains("general.name"));
  EXPECT_FALSE(brief.model_info.contains("tokenizer.chat_template"));
  EXPECT_EQ(brief.model_info["general.parameter_count"], 32 * 64 + 32 * 32);
  EXPECT_THAT(brief.tensors, IsEmpty());
  EXPECT_EQ(brief.parameters_text,
            "stop                           \"<a>\"\n"
            "stop                           \"<b>\"\n"
            "temperature                    0.6");
  EXPECT_THAT(brief.modelfile, AllOf(HasSubstr("FROM " + ollama_.blob_path(gguf_)), HasSubstr("SYSTEM \"\"\"Be brief."),
                                     HasSubstr("PARAMETER stop \"<b>\"\n"), HasSubstr("PARAMETER temperature 0.6\n")));
  EXPECT_TRUE(brief.extras.template_is_gguf);

  const auto verbose = catalog->describe("it", true).value();
  EXPECT_THAT(verbose.model_info["tokenizer.ggml.tokens"], SizeIs(6));
  ASSERT_THAT(verbose.tensors, SizeIs(2));
  EXPECT_EQ(verbose.tensors[0].name, "token_embd.weight");
  EXPECT_EQ(verbose.tensors[0].type, "Q8_0");
  EXPECT_THAT(verbose.tensors[0].shape, ElementsAre(32, 64));
}

// A template is a process that may compute for seconds.
TEST_F(CatalogTest, ATemplateIsLookedAtOnceForAllWhoAskAndAgainWhereThatWasNotPossible) {
  constexpr int kAskers = 8;
  ollama_.model(std::string(kLibrary) + "it/latest", {{"model", chat_model("{% if tools %}{% endif %}").bytes()}});
  std::atomic<int> n_reads = 0;
  const auto catalog = Catalog::open({.own_folder = own_.path(),
                                      .ollama_folders = {ollama_.path()},
                                      .paths = {},
                                      .read_template = [&](const std::string&) -> TemplateAbilities {
                                        if (++n_reads == 1) return {.is_known = false};
                                        return {.tools = true};
                                      }});
  ASSERT_TRUE(catalog);
  EXPECT_THAT((*catalog)->find("it")->capabilities, ElementsAre("completion"));
  std::vector<std::thread> askers;
  std::atomic<int> n_tools = 0;
  for (int i = 0; i < kAskers; ++i)
    askers.emplace_back([&] {
      const auto entry = (*catalog)->find("it");
      n_tools += entry && entry->capabilities.size() == 2 ? 1 : 0;
    });
  for (std::thread& asker : askers) asker.join();
  EXPECT_EQ(n_tools, kAskers);
  EXPECT_EQ(n_reads, 2);
}

TEST_F(CatalogTest, CapabilitiesFollowTemplateAndMetadata) {
  const auto capabilities = [&](const GgufBytes& model, const std::string& layer_template = "") {
    std::vector<StoreFolder::Part> parts{{"model", model.bytes()}};
    if (!layer_template.empty()) parts.push_back({"template", layer_template});
    ollama_.model(std::string(kLibrary) + "it/latest", parts);
    return open()->find("it").value().capabilities;
  };
  EXPECT_THAT(capabilities(chat_model()), ElementsAre("completion"));
  EXPECT_THAT(capabilities(chat_model("{% if tools %}{% endif %}{% if enable_thinking %}{% endif %}")),
              ElementsAre("completion", "tools", "thinking"));
  EXPECT_THAT(capabilities(chat_model("")), ElementsAre("completion"));
  EXPECT_THAT(capabilities(chat_model(""), "{{ .Tools }}{{ .Suffix }}"), ElementsAre("completion", "tools", "insert"));
  EXPECT_THAT(capabilities(chat_model("{% if tools %}{% endif %}"), "{% for m in messages %}{% endfor %}"),
              ElementsAre("completion"))
      << "a layer takes the place of the GGUF's template";
  EXPECT_THAT(capabilities(chat_model("{% if tools %}{% endif %}"), "{{ .Prompt }}"), ElementsAre("completion"));
  EXPECT_THAT(
      capabilities(
          chat_model().key_u32("tokenizer.ggml.fim_pre_token_id", 1).key_u32("tokenizer.ggml.fim_suf_token_id", 2)),
      ElementsAre("completion", "insert"));
  EXPECT_THAT(capabilities(chat_model().key_u32("llama.pooling_type", 1)), ElementsAre("embedding"));
  EXPECT_THAT(capabilities(chat_model().key_u32("llama.pooling_type", UINT32_MAX)), Contains("completion")) << "unsaid";
}

// ---- copy and remove ----

TEST_F(CatalogTest, ACopyIsASecondNameWithTheSameDigestAndSharesTheBlobs) {
  own_.model(std::string(kLibrary) + "it/latest", {{"model", gguf_}, {"system", "s"}});
  const auto catalog = open();
  const auto blobs = own_blobs();
  ASSERT_TRUE(catalog->copy("it", "me/copy:v1"));
  EXPECT_EQ(own_blobs(), blobs);
  EXPECT_EQ(catalog->find("me/copy:v1").value().digest, catalog->find("it").value().digest);
  // What both use stays until the last one goes.
  ASSERT_TRUE(catalog->remove("it"));
  EXPECT_EQ(own_blobs(), blobs);
  ASSERT_TRUE(catalog->extras("me/copy:v1"));
  ASSERT_TRUE(catalog->remove("me/copy:v1"));
  EXPECT_THAT(own_blobs(), IsEmpty());
  EXPECT_THAT(files_below(own_.path() + "/manifests"), IsEmpty());
  expect_error(catalog->remove("it"), Code::kNotFound, "not found");
}

TEST_F(CatalogTest, ACopyOfAnOllamaModelOutlivesIt) {
  ollama_model("it/latest", gguf_);
  const auto catalog = open();
  expect_error(catalog->remove("it"), Code::kPermissionDenied, "ollama rm");
  ASSERT_TRUE(catalog->copy("it", "mine"));
  std::filesystem::remove_all(ollama_.path());
  const auto mine = catalog->find("mine");
  ASSERT_TRUE(mine) << mine.error().message();
  EXPECT_EQ(mine->path, own_.blob_path(gguf_));
}

TEST_F(CatalogTest, WhoeverHoldsTheDraftOfAManifestKeepsNobodyFromWriting) {
  own_.model(std::string(kLibrary) + "a/latest", {{"model", gguf_}});
  const auto held = DraftFile::try_open(own_.path() + "/.manifest");
  ASSERT_TRUE(held && *held);
  EXPECT_TRUE(open()->copy("a", "b"));
}

TEST_F(CatalogTest, ACopyOfWhatIsDamagedReplacesNothingAndSaysWhatMendsIt) {
  const std::string other = chat_model("", "Other").bytes();
  own_.model(std::string(kLibrary) + "bad/latest", {{"model", other}, {"system", "s"}});
  own_.model(std::string(kLibrary) + "good/latest", {{"model", gguf_}});
  const auto catalog = open();
  const auto expect_refused = [&](const std::string& words) {
    expect_error(catalog->copy("bad", "good"), Code::kCorrupt, words);
    CreateRequest request;
    request.from = "bad";
    expect_error(catalog->create("good", request), Code::kCorrupt, words);
    EXPECT_EQ(catalog->find("good").value().path, own_.blob_path(gguf_));
  };
  std::filesystem::resize_file(own_.blob_path(other), 100);
  expect_refused("has 100 bytes, and the model's manifest says");
  std::filesystem::remove(own_.blob_path(other));
  expect_refused("is missing; pull the model again");
  own_.blob(other);
  write_file(own_.blob_path("s"), "t");
  expect_refused("remove it and pull the model again");
}

TEST_F(CatalogTest, CopyingRefusesWhatItCanNot) {
  own_.model(std::string(kLibrary) + "it/latest", {{"model", gguf_}});
  const auto catalog = open();
  expect_error(catalog->copy("absent", "x"), Code::kNotFound, "model 'absent' not found");
  expect_error(catalog->copy("it", "../x"), Code::kInvalidArgument, "invalid model name");
  EXPECT_TRUE(catalog->copy("it", "IT:LATEST")) << "onto itself: nothing to do";
  EXPECT_THAT(shown(*catalog), ElementsAre("it:latest"));
}

TEST_F(CatalogTest, ReplacingAModelRemovesWhatOnlyTheOldOneUsed) {
  const std::string other = chat_model("", "Other").bytes();
  own_.model(std::string(kLibrary) + "a/latest", {{"model", gguf_}});
  own_.model(std::string(kLibrary) + "b/latest", {{"model", other}});
  const auto catalog = open();
  ASSERT_TRUE(catalog->copy("b", "A"));
  EXPECT_THAT(shown(*catalog), ElementsAre("a:latest", "b:latest")) << "the name keeps the case it has";
  EXPECT_FALSE(std::filesystem::exists(own_.blob_path(gguf_)));
  EXPECT_TRUE(std::filesystem::exists(own_.blob_path(other)));
}

TEST_F(CatalogTest, ManyRemovalsAtOnceSucceedOncePerModel) {
  constexpr int kModels = 4, kThreads = 8;
  for (int i = 0; i < kModels; ++i)
    own_.model(kLibrary + ("m" + std::to_string(i)) + "/latest", {{"model", gguf_}, {"system", std::to_string(i)}});
  const auto catalog = open();
  std::atomic<int> removed{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < kModels; ++i) {
        const auto outcome = catalog->remove("m" + std::to_string(i));
        if (outcome)
          ++removed;
        else
          EXPECT_EQ(outcome.error().code(), Code::kNotFound);
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(removed, kModels);
  EXPECT_THAT(own_blobs(), IsEmpty());
}

TEST_F(CatalogTest, ADamagedManifestKeepsEveryBlobAndCanBeRemoved) {
  own_.model(std::string(kLibrary) + "good/latest", {{"model", gguf_}});
  write_file(own_.manifest_path(std::string(kLibrary) + "bad/latest"), "{");
  const auto catalog = open();
  ASSERT_TRUE(catalog->remove("good"));
  EXPECT_TRUE(std::filesystem::exists(own_.blob_path(gguf_))) << "the damaged one may use it";
  ASSERT_TRUE(catalog->remove("bad"));
  EXPECT_THAT(files_below(own_.path() + "/manifests"), IsEmpty());
}

TEST_F(CatalogTest, WhatAManifestUsesStaysWhateverTheManifestIsCalled) {
  for (const char* place : {"registry.ollama.ai/library/we@ird/latest", "registry.ollama.ai/library/it/.hidden",
                            "registry.ollama.ai/stray", "one/two/three/four/five/latest"}) {
    own_.model(std::string(kLibrary) + "a/latest", {{"model", gguf_}, {"system", "of a alone"}});
    own_.model(place, {{"model", gguf_}});
    ASSERT_TRUE(open()->remove("a"));
    EXPECT_TRUE(std::filesystem::exists(own_.blob_path(gguf_))) << place;
    EXPECT_FALSE(std::filesystem::exists(own_.blob_path("of a alone"))) << place;
    std::filesystem::remove(own_.manifest_path(place));
  }
}

// A link to itself is for everybody, root too, what a folder of another user is for us.
TEST_F(CatalogTest, NoBlobGoesWhereNotAllManifestsCanBeLookedAt) {
  std::vector<std::string> notices;
  set_notice_sink([&](const std::string& sentence) { notices.push_back(sentence); });
  for (const char* unseen : {"registry.ollama.ai/other", "registry.ollama.ai/library/it/other", "other"}) {
    own_.model(std::string(kLibrary) + "it/latest", {{"model", gguf_}});
    own_.model(std::string(kLibrary) + "second/latest", {{"model", gguf_ + "x"}});
    const std::string link = own_.manifest_path(unseen);
    std::filesystem::create_symlink(link, link);
    EXPECT_TRUE(open()->copy("it", "second")) << "replaces a model";
    EXPECT_TRUE(open()->remove("it")) << unseen;
    EXPECT_TRUE(open()->remove("second")) << unseen;
    EXPECT_TRUE(std::filesystem::exists(own_.blob_path(gguf_))) << unseen;
    EXPECT_TRUE(std::filesystem::exists(own_.blob_path(gguf_ + "x"))) << unseen;
    EXPECT_THAT(notices, Contains(AllOf(HasSubstr("no files of weights are removed"), HasSubstr(link + ": "))));
    std::filesystem::remove(link);
  }
  set_notice_sink(nullptr);
}

TEST_F(CatalogTest, LinksAmongManifestsThatLeadInCirclesAreFollowedOnce) {
  own_.model(std::string(kLibrary) + "it/latest", {{"model", gguf_}});
  for (const char* name : {"a", "b", "c"}) std::filesystem::create_symlink(".", own_.manifest_path(kLibrary) + name);
  ASSERT_TRUE(open()->remove("it"));
  EXPECT_THAT(own_blobs(), IsEmpty());
}

// ---- create ----

TEST_F(CatalogTest, AModelMadeFromAnotherSharesItsFilesAndOverridesTheRest) {
  ollama_.model(
      std::string(kLibrary) + "base/latest",
      {{"model", gguf_}, {"system", "old"}, {"params", R"({"temperature":0.6,"stop":["x"]})"}, {"license", "MIT"}});
  const auto catalog = open();
  std::vector<std::string> statuses;
  CreateRequest request;
  request.from = "base";
  request.system = "new";
  request.template_text = "{{ .Prompt }}";
  request.parameters = {{"temperature", 0.1}, {"num_ctx", 8192}};
  request.messages = std::vector<ModelMessage>{{"user", "hi"}};
  ASSERT_TRUE(catalog->create("mine:v2", request, [&](const std::string& s) { statuses.push_back(s); }));
  EXPECT_THAT(statuses, Contains(StartsWith("using existing layer sha256:")));
  EXPECT_THAT(statuses, Contains(StartsWith("creating new layer sha256:")));
  EXPECT_EQ(statuses.back(), "success");

  const auto extras = catalog->extras("mine:v2").value();
  EXPECT_EQ(extras.system, "new");
  EXPECT_EQ(extras.template_text, "{{ .Prompt }}");
  EXPECT_EQ(extras.parameters, (nlohmann::ordered_json{{"temperature", 0.1}, {"stop", {"x"}}, {"num_ctx", 8192}}));
  EXPECT_THAT(extras.licenses, ElementsAre("MIT"));
  ASSERT_THAT(extras.messages, SizeIs(1));
  const auto entry = catalog->find("mine:v2").value();
  EXPECT_EQ(entry.details.parent_model, "base:latest");
  EXPECT_EQ(entry.details.quantization_level, "Q4_K_M");
  EXPECT_EQ(entry.source, ModelSource::kOwn);
  EXPECT_EQ(catalog->extras("base").value().system, "old");

  // An empty text takes one away.
  CreateRequest without;
  without.from = "mine:v2";
  without.system = "";
  ASSERT_TRUE(catalog->create("mine:v3", without));
  EXPECT_EQ(catalog->extras("mine:v3").value().system, "");
}

TEST_F(CatalogTest, OfAModelOfOthersSoManyMessagesAreReadAsOneMayBeStoredWith) {
  std::string messages = R"([{"role":"user","content":"0"})";
  for (size_t i = 1; i <= kMessagesMax; ++i) messages += R"(,{"role":"user","content":")" + std::to_string(i) + "\"}";
  ollama_.model(std::string(kLibrary) + "long/latest", {{"model", gguf_}, {"messages", messages + "]"}});
  const auto extras = open()->extras("long").value();
  ASSERT_THAT(extras.messages, SizeIs(kMessagesMax));
  EXPECT_EQ(extras.messages.back().content, std::to_string(kMessagesMax - 1));
}

TEST_F(CatalogTest, ATemplateThatIsChosenIsNoStandInForTheRendererOfTheBase) {
  ollama_.model(std::string(kLibrary) + "base/latest", {{"model", gguf_}, {"template", "{{ .Prompt }}"}},
                R"({"model_format":"gguf","renderer":"r","parser":"p"})");
  const auto catalog = open();
  CreateRequest request;
  request.from = "base";
  ASSERT_TRUE(catalog->create("same", request));
  EXPECT_EQ(given_template(catalog->extras("same").value()), "");
  request.template_text = "{{ .System }}{{ .Prompt }}";
  ASSERT_TRUE(catalog->create("own", request));
  EXPECT_EQ(given_template(catalog->extras("own").value()), *request.template_text);
  request.renderer = "r";
  ASSERT_TRUE(catalog->create("both", request));
  EXPECT_EQ(catalog->extras("both").value().renderer, "r");

  // An empty one takes the old one away, and the file's counts.
  request.renderer.reset();
  request.template_text = "";
  ASSERT_TRUE(catalog->create("without", request));
  const auto without = catalog->extras("without").value();
  EXPECT_TRUE(without.template_is_gguf);
  EXPECT_EQ(without.renderer, "r");
}

TEST_F(CatalogTest, WhatIsShownOfAModelWithARendererMakesTheSameOne) {
  ollama_.model(std::string(kLibrary) + "base/latest", {{"model", gguf_}, {"template", "{{ .Prompt }}"}},
                R"({"model_format":"gguf","renderer":"r","parser":"p","requires":"0.14"})");
  const auto catalog = open();
  auto request = parse_modelfile(catalog->describe("base")->modelfile);
  ASSERT_TRUE(request) << request.error().message();
  request->gguf_path = std::exchange(request->from, "");
  ASSERT_TRUE(catalog->create("again", *request));
  const auto base = catalog->extras("base").value(), again = catalog->extras("again").value();
  EXPECT_EQ(again.renderer, base.renderer);
  EXPECT_EQ(again.parser, base.parser);
  EXPECT_EQ(again.requires_version, base.requires_version);
  EXPECT_EQ(again.template_text, base.template_text);
}

TEST_F(CatalogTest, OfAModelOfOthersAParameterOfAWrongTypeTakesNoneOfTheOthersAway) {
  ollama_.model(std::string(kLibrary) + "odd/latest",
                {{"model", gguf_}, {"params", R"({"stop":["<a>"],"bad":null,"num_ctx":4096,"worse":{"x":1}})"}});
  const auto catalog = open();
  const nlohmann::ordered_json rest = {{"stop", {"<a>"}}, {"num_ctx", 4096}};
  EXPECT_EQ(catalog->extras("odd").value().parameters, rest);
  CreateRequest request;
  request.from = "odd";
  request.parameters = {{"num_ctx", 4096}};
  ASSERT_TRUE(catalog->create("mine", request));
  EXPECT_EQ(catalog->extras("mine").value().parameters, rest);
}

// What is known of templates would grow with every one that somebody sends.
TEST(FactsCache, KeepsTextsOfSoManyBytes) {
  FactsCache cache;
  int n_read = 0;
  const auto ask = [&](char letter) {
    cache.abilities(std::string(40 << 20, letter), [&](const std::string&) {
      ++n_read;
      return TemplateAbilities{};
    });
  };
  ask('a');
  ask('a');
  EXPECT_EQ(n_read, 1);
  ask('b');
  ask('a');
  EXPECT_EQ(n_read, 3);
}

TEST_F(CatalogTest, ParametersAreBoundedTogetherWithThoseOfTheBase) {
  ollama_model("base/latest", gguf_);
  const auto catalog = open();
  CreateRequest request;
  request.from = "base";
  for (int i = 0; i < 1000; ++i) request.parameters["p" + std::to_string(i)] = i;
  ASSERT_TRUE(catalog->create("mine", request));
  request.from = "mine";
  request.parameters = {{"p7", 1}};
  ASSERT_TRUE(catalog->create("mine", request));
  request.parameters = {{"one more", 1}};
  expect_error(catalog->create("mine", request), Code::kInvalidArgument, "more than 1000 parameters");
  EXPECT_EQ(catalog->extras("mine").value().parameters.size(), 1000u);
}

TEST_F(CatalogTest, AGgufFileBecomesAModelAndMayGoAfterwards) {
  const std::string path = folder_.write("it.gguf", gguf_);
  const auto catalog = open();
  CreateRequest request;
  request.gguf_path = path;
  ASSERT_TRUE(catalog->create("it", request));
  std::filesystem::remove(path);
  const auto entry = catalog->find("it").value();
  EXPECT_EQ(entry.path, own_.blob_path(gguf_));
  EXPECT_EQ(entry.details.parameter_size, "3K");
  EXPECT_THAT(own_blobs(), Not(Contains(HasSubstr("draft"))));
}

// A model may be loaded from the blob: another file under its name would be another model to whoever has it open.
TEST_F(CatalogTest, ABlobThatIsThereIsLeftAlone) {
  const auto catalog = open();
  CreateRequest request;
  request.gguf_path = folder_.write("it.gguf", gguf_);
  ASSERT_TRUE(catalog->create("one", request));
  const FileIdentity before = identify_file(own_.blob_path(gguf_)).value();
  std::vector<std::string> said;
  ASSERT_TRUE(catalog->create("two", request, [&](const std::string& status) { said.push_back(status); }));
  EXPECT_THAT(said, Contains(StartsWith("using existing layer sha256:")));
  EXPECT_THAT(said, Not(Contains(StartsWith("copying"))));
  auto writer = catalog->write_blob("sha256:" + sha256_hex(gguf_)).value();
  ASSERT_TRUE(writer->write(gguf_));
  ASSERT_TRUE(writer->finish());
  EXPECT_TRUE(identify_file(own_.blob_path(gguf_)).value() == before);
  EXPECT_THAT(own_blobs(), Not(Contains(HasSubstr("draft"))));
}

TEST_F(CatalogTest, ABlobThatWasCutIsMended) {
  const auto catalog = open();
  CreateRequest request;
  request.gguf_path = folder_.write("it.gguf", gguf_);
  ASSERT_TRUE(catalog->create("one", request));
  std::filesystem::resize_file(own_.blob_path(gguf_), 100);
  request.gguf_path = folder_.write("again.gguf", gguf_);  // the first may be the blob by another name
  ASSERT_TRUE(catalog->create("two", request));
  EXPECT_EQ(std::filesystem::file_size(own_.blob_path(gguf_)), gguf_.size());
}

TEST_F(CatalogTest, ADamagedTextIsNotUsedAndIsMendedByTheSameText) {
  const std::string system = "You must never reveal it.", go_template = "{{ .Prompt }}", params = R"({"num_ctx":8192})",
                    config = R"({"model_format":"gguf","renderer":"r"})";
  own_.model(std::string(kLibrary) + "it/latest",
             {{"model", gguf_}, {"system", system}, {"template", go_template}, {"params", params}}, config);
  const auto catalog = open();
  for (const std::string& text : {system, go_template, params, config})
    for (const std::string& damaged : {text.substr(0, 9), std::string(text.size(), '?')}) {
      write_file(own_.blob_path(text), damaged);
      expect_error(catalog->extras("it"), Code::kCorrupt, "is damaged");
      own_.blob(text);
      EXPECT_TRUE(catalog->extras("it"));
    }
  write_file(own_.blob_path(config), "{}");
  expect_error(catalog->find("it"), Code::kCorrupt, "is damaged");
  own_.blob(config);
  CreateRequest request;
  request.gguf_path = folder_.write("it.gguf", gguf_);
  request.system = system;
  for (const std::string& damaged : {system.substr(0, 9), std::string(system.size(), '?')}) {
    write_file(own_.blob_path(system), damaged);
    ASSERT_TRUE(catalog->create("again", request));
    EXPECT_EQ(catalog->extras("again").value().system, system);
  }
}

TEST_F(CatalogTest, ABlobThatIsSeenToBeDamagedIsAskedForAgain) {
  const auto catalog = open();
  GgufBytes later_part;
  later_part.key_u16("split.no", 1).key_u16("split.count", 2).tensor({"blk.0.ffn_up.weight", {1024, 1280}});
  const std::string large = later_part.bytes(), no_gguf(5 << 20, 'x');
  ASSERT_GT(large.size(), kManifestBytesMax);
  for (const std::string& content : {gguf_, std::string("text"), large, no_gguf}) {
    const std::string digest = upload(*catalog, content);
    EXPECT_TRUE(catalog->has_blob(digest).value());
    std::filesystem::resize_file(own_.blob_path(content), content.size() - 1);
    EXPECT_EQ(catalog->has_blob(digest).value(), content == no_gguf) << "of other files nothing can be told";
    upload(*catalog, content);
    EXPECT_EQ(std::filesystem::file_size(own_.blob_path(content)), content.size());
  }
}

// HEAD, PUT and create would otherwise disagree: it is not there, it is there, it is used.
TEST_F(CatalogTest, ALargeBlobOfTheRightSizeWithABrokenHeaderIsMended) {
  const auto catalog = open();
  const std::string large = chat_model().tensor({"blk.1.ffn_up.weight", {1024, 1280}}).bytes();
  ASSERT_GT(large.size(), kManifestBytesMax);
  std::string broken = large;
  broken.replace(8, 8, 8, '\xff');  // how many tensors there are
  const std::string digest = upload(*catalog, large);
  write_file(own_.blob_path(large), broken);
  EXPECT_FALSE(catalog->has_blob(digest).value());
  upload(*catalog, large);
  EXPECT_TRUE(catalog->has_blob(digest).value());
  write_file(own_.blob_path(large), broken);
  CreateRequest request;
  request.gguf_path = folder_.write("it.gguf", large);
  std::vector<std::string> said;
  ASSERT_TRUE(catalog->create("it", request, [&](const std::string& status) { said.push_back(status); }));
  EXPECT_THAT(said, Contains("creating new layer " + digest));
  EXPECT_THAT(said, Not(Contains("using existing layer " + digest)));
  EXPECT_EQ(read_text_file(own_.blob_path(large)).value(), large);
  EXPECT_TRUE(catalog->has_blob(digest).value());
}

TEST_F(CatalogTest, AFileThatOllamasStoreHasIsLinkedInsteadOfCopied) {
  ollama_model("theirs/latest", gguf_);
  const auto catalog = open();
  CreateRequest request;
  request.gguf_path = folder_.write("it.gguf", gguf_);
  ASSERT_TRUE(catalog->create("ours", request));
  EXPECT_TRUE(std::filesystem::equivalent(own_.blob_path(gguf_), ollama_.blob_path(gguf_)));
}

TEST_F(CatalogTest, AGgufFileIsNotCopiedWhereBothCanShareItsContent) {
  const std::string path = folder_.write("it.gguf", gguf_);
  const auto catalog = open();
  CreateRequest request;
  request.gguf_path = path;
  std::vector<std::string> said;
  ASSERT_TRUE(catalog->create("it", request, [&](const std::string& status) { said.push_back(status); }));
  EXPECT_THAT(said, Not(Contains(HasSubstr("copying"))));
  EXPECT_EQ(catalog->find("it").value().path, own_.blob_path(gguf_));
}

TEST_F(CatalogTest, WhatADeadProcessWasWritingGoesAtTheNextStart) {
  const std::string dead = own_.path() + "/blobs/.draft-4194304-0";
  std::filesystem::create_directories(own_.path() + "/blobs");
  std::ofstream(dead) << "half a model";
  const auto catalog = open();
  EXPECT_FALSE(std::filesystem::exists(dead));
  // One that is being written stays, whoever opens the store.
  const std::string digest = "sha256:" + sha256_hex("content");
  const auto writer = catalog->write_blob(digest).value();
  ASSERT_TRUE(writer->write("con"));
  const auto other = open();
  ASSERT_TRUE(writer->write("tent"));
  ASSERT_TRUE(writer->finish());
  EXPECT_TRUE(other->has_blob(digest).value());
}

TEST_F(CatalogTest, AManifestOfManyKeysIsReadInNoTime) {
  ollama_model("base/latest", gguf_);
  std::string manifest = R"({"schemaVersion":2)";
  for (int i = 0; i < 100'000; ++i) manifest += ",\"k" + std::to_string(i) + "\":0";
  write_file(own_.manifest_path(std::string(kLibrary) + "many/latest"), manifest + "}");
  const auto catalog = open();
  EXPECT_THAT(shown(*catalog), ElementsAre("base:latest"));
  EXPECT_TRUE(catalog->remove("many"));
}

TEST_F(CatalogTest, AnAdoptedDraftStaysWhileSomebodyHasTheStoresLock) {
  const std::string draft = own_.path() + "/blobs/.draft-4194304-0-adopted";
  write_file(draft, "a file by another name");
  {
    const auto lock = FolderLock::acquire(own_.path());
    const auto other = open();
    EXPECT_TRUE(std::filesystem::exists(draft)) << "it is being adopted";
  }
  const auto catalog = open();
  EXPECT_FALSE(std::filesystem::exists(draft));
}

TEST_F(CatalogTest, ASplitModelOfBlobsIsReachedUnderThePartNamesItNeeds) {
  const auto catalog = open();
  create_split(*catalog);
  const auto entry = catalog->find("big").value();
  EXPECT_THAT(entry.path, testing::EndsWith("/model-00001-of-00002.gguf"));
  const auto model = open_gguf_model(entry.path);
  ASSERT_TRUE(model) << model.error().message();
  EXPECT_THAT(model->files, SizeIs(2));
  ASSERT_TRUE(catalog->copy("big", "also"));
  ASSERT_TRUE(catalog->remove("big"));
  ASSERT_TRUE(open_gguf_model(catalog->find("also").value().path));
  ASSERT_TRUE(catalog->remove("also"));
  EXPECT_THAT(files_below(own_.path()), ElementsAre(".lock"));
}

TEST_F(CatalogTest, LinksOfASplitModelGoWithItsBlobsHoweverThoseGo) {
  const std::string views = own_.path() + "/views";
  own_.model(std::string(kLibrary) + "other/latest", {{"model", gguf_}});
  const auto catalog = open();
  create_split(*catalog);
  ASSERT_TRUE(catalog->find("big")) << "which makes them";
  EXPECT_THAT(files_below(views), SizeIs(2));
  ASSERT_TRUE(catalog->copy("other", "big"));
  EXPECT_TRUE(std::filesystem::is_empty(views)) << "it was replaced";
  std::filesystem::create_directory(views + "/of-a-process-that-ended");
  std::filesystem::create_symlink("gone", views + "/of-a-process-that-ended/model-00001-of-00002.gguf");
  ASSERT_TRUE(Catalog::open({.own_folder = own_.path(), .ollama_folders = {}, .paths = {}, .tidies = true}));
  EXPECT_TRUE(std::filesystem::is_empty(views)) << "the server starts";
}

// A file in the place of the folder is for everybody, root too, what a read-only store is for all.
TEST_F(CatalogTest, PartsAreLinkedAmongTheCachesWhereTheStoreTakesNoLinks) {
  const auto catalog = open();
  create_split(*catalog);
  std::filesystem::remove_all(own_.path() + "/views");
  write_file(own_.path() + "/views", "");
  const char* before = std::getenv("SPILLWAY_CACHE_DIR");
  const std::string kept = before == nullptr ? "" : before;
  ::setenv("SPILLWAY_CACHE_DIR", folder_.at("caches").c_str(), 1);
  const std::string path = catalog->find("big").value().path;
  EXPECT_THAT(path, StartsWith(folder_.at("caches/views/")));
  EXPECT_TRUE(open_gguf_model(path));
  const std::string gone = folder_.at("caches/views/of-a-model-that-went");
  std::filesystem::create_directory(gone);
  std::filesystem::create_symlink("gone", gone + "/model-00001-of-00002.gguf");
  ASSERT_TRUE(Catalog::open({.own_folder = own_.path(), .ollama_folders = {}, .paths = {}, .tidies = true}));
  EXPECT_FALSE(std::filesystem::exists(gone)) << "the server starts";
  EXPECT_TRUE(open_gguf_model(path));
  ::setenv("SPILLWAY_CACHE_DIR", folder_.write("no-folder", "").c_str(), 1);
  expect_error(catalog->find("big"), Code::kIo, "make the folder: Not a directory");
  before == nullptr ? ::unsetenv("SPILLWAY_CACHE_DIR") : ::setenv("SPILLWAY_CACHE_DIR", kept.c_str(), 1);
}

TEST_F(CatalogTest, UploadedBlobsBecomeAModel) {
  const auto catalog = open();
  const std::string digest = "sha256:" + sha256_hex(gguf_);
  EXPECT_FALSE(catalog->has_blob(digest).value());
  auto writer = catalog->write_blob(digest);
  ASSERT_TRUE(writer) << writer.error().message();
  for (size_t i = 0; i < gguf_.size(); i += 1000)
    ASSERT_TRUE((*writer)->write(std::string_view(gguf_).substr(i, 1000)));
  ASSERT_TRUE((*writer)->finish());
  EXPECT_TRUE(catalog->has_blob(digest).value());
  CreateRequest request;
  request.blobs = {{"it.gguf", digest}};
  ASSERT_TRUE(catalog->create("it", request));
  EXPECT_EQ(catalog->find("it").value().path, own_.blob_path(gguf_));
}

TEST_F(CatalogTest, ABlobThatIsNotWhatItClaimsLeavesNothing) {
  const auto catalog = open();
  const std::string digest = "sha256:" + std::string(64, 'a');
  {
    auto writer = catalog->write_blob(digest).value();
    ASSERT_TRUE(writer->write("something else"));
    expect_error(writer->finish(), Code::kInvalidArgument, "digest mismatch");
  }
  {
    auto abandoned = catalog->write_blob(digest).value();
    ASSERT_TRUE(abandoned->write("half"));
  }
  EXPECT_THAT(own_blobs(), IsEmpty());
  for (const std::string& bad : {std::string("sha256:../../x"), std::string("sha256:") + std::string(64, 'A'),
                                 std::string("md5:") + std::string(64, 'a'), std::string()}) {
    expect_error(catalog->has_blob(bad), Code::kInvalidArgument, "invalid digest");
    expect_error(catalog->write_blob(bad), Code::kInvalidArgument, "invalid digest");
  }
}

struct MadeOf {
  std::string what;
  std::vector<std::string> files;  // in the order of their names
  Code code;
  std::string words;
};

GgufBytes part_of_three(uint16_t no) {
  GgufBytes part = no == 0 ? chat_model() : GgufBytes();
  if (no > 0) part.tensor({"blk." + std::to_string(no) + ".attn_q.weight", {32, 32}, 8});
  return part.key_u16("split.no", no).key_u16("split.count", 3);
}

std::string cut(const std::string& bytes, size_t n) { return bytes.substr(0, bytes.size() - n); }

// Nor of a file, or by another name of one: a projector, an adapter, a control vector, a vocabulary.
TEST_F(CatalogTest, WhatIsNoModelTakesNoNameAndTheOneThatHasItStays) {
  const auto catalog = open();
  CreateRequest good;
  good.blobs = {{"it.gguf", upload(*catalog, gguf_)}};
  ASSERT_TRUE(catalog->create("good", good));
  const std::string before = catalog->find("good").value().digest;
  GgufBytes control, adapter;
  control.key("general.architecture", "controlvector").tensor({"direction.1", {32}});
  adapter.key("general.architecture", "llama").key("general.type", "adapter").key("adapter.type", "lora");
  const std::string projector = projector_gguf().bytes(), p0 = part_of_three(0).bytes(), p1 = part_of_three(1).bytes(),
                    p2 = part_of_three(2).bytes();
  const std::vector<MadeOf> all = {
      {"cut in its weights", {cut(gguf_, 100)}, Code::kCorrupt, "the file ends inside tensor"},
      {"cut in its header", {gguf_.substr(0, 200)}, Code::kCorrupt, ""},
      {"no GGUF", {"words"}, Code::kCorrupt, "not a GGUF"},
      {"part of it", {p0, p1}, Code::kCorrupt, "00003-of-00003.gguf: is missing"},
      {"the first part", {p0}, Code::kCorrupt, "00002-of-00003.gguf: is missing"},
      {"later parts", {p1, p2}, Code::kCorrupt, ""},
      {"a part twice", {p0, p1, p1}, Code::kCorrupt, "is part 2 of 3 by its content"},
      {"a part too many", {p0, p1, p2, p2}, Code::kCorrupt, "there are 4 files, and by the first one it has 3"},
      {"two models", {gguf_, chat_model("", "Other").bytes()}, Code::kCorrupt, "there are 2 files"},
      {"a control vector", {control.bytes()}, Code::kUnsupported, "is a control vector, and no model on its own"},
      {"a vocabulary", {GgufBytes().key("general.architecture", "llama").bytes()}, Code::kUnsupported, "a vocabulary"},
      {"a projector", {projector}, Code::kInvalidArgument, "send the model's file, too"},
      {"a cut projector", {gguf_, cut(projector, 100)}, Code::kCorrupt, "the file ends inside tensor"},
      {"an adapter", {adapter.bytes()}, Code::kInvalidArgument, "goes into 'adapters'"}};
  for (const MadeOf& one : all) {
    SCOPED_TRACE(one.what);
    CreateRequest request;
    for (const std::string& file : one.files)
      request.blobs.emplace_back("part" + std::to_string(request.blobs.size()), upload(*catalog, file));
    expect_error(catalog->create("good", request), one.code, one.words);
    // Of a file on this disk, and of one that is there under a name.
    if (one.files.size() == 1) {
      CreateRequest of_file, of_name;
      of_file.gguf_path = folder_.write("file.gguf", one.files[0]);
      EXPECT_FALSE(catalog->create("good", of_file));
      of_name.from = "file";
      EXPECT_FALSE(open({of_file.gguf_path})->create("good", of_name));
      EXPECT_FALSE(open({of_file.gguf_path})->copy("file", "good"));
    }
    EXPECT_EQ(catalog->find("good").value().digest, before);
    EXPECT_TRUE(std::filesystem::exists(own_.blob_path(gguf_)));
  }
  CreateRequest whole;
  whole.blobs = {{"1", upload(*catalog, p0)}, {"2", upload(*catalog, p1)}, {"3", upload(*catalog, p2)}};
  EXPECT_TRUE(catalog->create("good", whole));
  EXPECT_TRUE(catalog->find("good"));
}

TEST_F(CatalogTest, AModelOfAnotherStoreThatIsNotWholeTakesNoName) {
  ollama_model("cut/latest", cut(gguf_, 100));
  ollama_model("projector/latest", projector_gguf().bytes());
  own_.model(std::string(kLibrary) + "good/latest", {{"model", gguf_}});
  const auto catalog = open();
  CreateRequest request;
  request.from = "cut";
  expect_error(catalog->create("good", request), Code::kCorrupt, "the file ends inside tensor");
  request.from = "projector";
  expect_error(catalog->create("good", request), Code::kUnsupported, "no model on its own");
  EXPECT_THAT(own_blobs(), SizeIs(2)) << "the model's and its config";
}

// For chat_model().
GgufBytes adapter_of_rank(int64_t rank, const char* architecture = "llama") {
  GgufBytes adapter;
  adapter.key("general.architecture", architecture).key("general.type", "adapter").key("adapter.type", "lora");
  return adapter.tensor({"blk.0.attn_q.weight.lora_a", {32, rank}}).tensor({"blk.0.attn_q.weight.lora_b", {rank, 32}});
}

TEST_F(CatalogTest, AdaptersBelongToTheModelTheyWereMadeWithAndToItsCopies) {
  ollama_model("base/latest", gguf_);
  const auto catalog = open();
  const std::string one = adapter_of_rank(4).bytes(), two = adapter_of_rank(8).bytes();
  const std::string digest = upload(*catalog, two);
  CreateRequest request;
  request.from = "base";
  request.adapter_paths = {folder_.write("one.gguf", one)};
  request.adapter_blobs = {{"two.gguf", digest}};
  ASSERT_TRUE(catalog->create("mine", request));
  std::filesystem::remove(request.adapter_paths[0]);
  const auto paths = ElementsAre(own_.blob_path(one), own_.blob_path(two));
  ASSERT_TRUE(catalog->copy("mine", "copied"));
  for (const char* name : {"mine", "copied"}) {
    const auto entry = catalog->find(name);
    ASSERT_TRUE(entry) << entry.error().message();
    EXPECT_THAT(entry->adapter_paths, paths);
    EXPECT_THAT(catalog->extras(name)->adapter_paths, paths);
    EXPECT_NE(entry->weights, catalog->find("base")->weights) << "a server would answer both with one engine";
    EXPECT_EQ(entry->weights, catalog->find("mine")->weights);
  }
  EXPECT_THAT(catalog->find("base")->adapter_paths, IsEmpty());
  // Of a model that has some, another has them too, besides its own.
  CreateRequest again;
  again.from = "mine";
  ASSERT_TRUE(catalog->create("again", again));
  EXPECT_THAT(catalog->find("again")->adapter_paths, paths);
  const std::string three = adapter_of_rank(2).bytes();
  again.adapter_blobs = {{"two.gguf", digest}, {"three.gguf", upload(*catalog, three)}};
  ASSERT_TRUE(catalog->create("again", again));
  EXPECT_THAT(catalog->find("again")->adapter_paths,
              ElementsAre(own_.blob_path(one), own_.blob_path(two), own_.blob_path(three)));
  for (const char* name : {"mine", "again"}) ASSERT_TRUE(catalog->remove(name));
  EXPECT_TRUE(std::filesystem::exists(own_.blob_path(one))) << "a copy uses it";
  ASSERT_TRUE(catalog->remove("copied"));
  EXPECT_FALSE(std::filesystem::exists(own_.blob_path(one)));
}

TEST_F(CatalogTest, AdaptersThatAreNotForTheModelAreRefusedAndLeaveNothing) {
  ollama_model("base/latest", gguf_);
  const auto catalog = open();
  const auto leaves_nothing = [&] { EXPECT_THAT(files_below(own_.path()), Each(StartsWith(".lock"))); };
  const auto create = [&](const std::string& bytes) {
    leaves_nothing();
    CreateRequest request;
    request.from = "base";
    request.adapter_paths = {folder_.write("right.gguf", adapter_of_rank(2).bytes()),
                             folder_.write("wrong.gguf", bytes)};
    return catalog->create("x", request);
  };
  const std::string right = adapter_of_rank(4).bytes();
  expect_error(create(adapter_of_rank(4, "qwen3").bytes()), Code::kInvalidArgument, "adapter for qwen3");
  expect_error(create(gguf_), Code::kInvalidArgument, "is a model, not a LoRA adapter");
  expect_error(create(right.substr(0, right.size() - 10)), Code::kCorrupt, "wrong.gguf");
  expect_error(create("words"), Code::kCorrupt, "not a GGUF");
  CreateRequest request;
  request.from = "base";
  request.adapter_paths = {folder_.at("absent.gguf")};
  expect_error(catalog->create("x", request), Code::kNotFound, "absent.gguf");
  request.adapter_paths.clear();
  request.adapter_blobs = {{"a.gguf", "sha256:" + std::string(64, 'c')}};
  expect_error(catalog->create("x", request), Code::kNotFound, "not found");
  leaves_nothing();
}

TEST_F(CatalogTest, AProjectorBelongsToTheModelItWasMadeWithAndToItsCopies) {
  const auto catalog = open();
  const std::string one = projector_gguf().bytes(), two = projector_gguf().key("of", "two").bytes();
  CreateRequest request;
  request.gguf_path = folder_.write("it-Q8_0.gguf", gguf_);
  folder_.write("mmproj-it-F16.gguf", one);
  ASSERT_TRUE(catalog->create("beside", request));
  EXPECT_EQ(catalog->find("beside")->projector_path, own_.blob_path(one));
  EXPECT_THAT(catalog->find("beside")->capabilities, testing::Contains("vision"));
  request.projector = folder_.write("other.gguf", two);
  ASSERT_TRUE(catalog->create("named", request));
  EXPECT_EQ(catalog->find("named")->projector_path, own_.blob_path(two));
  request.projector = kNoProjector;
  ASSERT_TRUE(catalog->create("blind", request));
  EXPECT_EQ(catalog->find("blind")->projector_path, "");

  CreateRequest again;
  again.from = "beside";
  ASSERT_TRUE(catalog->create("again", again));
  EXPECT_EQ(catalog->find("again")->projector_path, own_.blob_path(one));
  again.projector = "@sha256:" + sha256_hex(two);
  ASSERT_TRUE(catalog->create("again", again));
  EXPECT_EQ(catalog->find("again")->projector_path, own_.blob_path(two));
  const auto described = catalog->describe("again");
  ASSERT_TRUE(described) << described.error().message();
  EXPECT_THAT(described->modelfile, HasSubstr("FROM " + own_.blob_path(two) + "\n"));
  EXPECT_EQ(described->projector_info["of"], "two");
  again.projector = kNoProjector;
  ASSERT_TRUE(catalog->create("again", again));
  EXPECT_EQ(catalog->find("again")->projector_path, "");
}

// The model is loaded without it, and its embedding has 32 numbers.
TEST_F(CatalogTest, AModelDoesNotSeeThroughAProjectorOfAnotherWidth) {
  const auto catalog = open();
  CreateRequest request;
  request.gguf_path = folder_.write("it.gguf", gguf_);
  for (const int64_t width : {32, 48}) {
    const std::string projector = projector_gguf().tensor({"mm.input_projection.weight", {width, 32}}).bytes();
    request.projector = folder_.write("of-" + std::to_string(width) + ".gguf", projector);
    ASSERT_TRUE(catalog->create("x", request));
    EXPECT_NE(catalog->find("x")->projector_path, "");
    EXPECT_EQ(catalog->find("x")->capabilities,
              width == 32 ? std::vector<std::string>({"completion", "vision"}) : std::vector<std::string>{"completion"})
        << width;
  }
}

TEST_F(CatalogTest, AProjectorThatIsNoneIsRefusedAndOneThatWasNotNamedIsLeftOut) {
  const auto catalog = open();
  CreateRequest request;
  request.gguf_path = folder_.write("it-Q8_0.gguf", gguf_);
  request.projector = request.gguf_path;
  expect_error(catalog->create("x", request), Code::kInvalidArgument, "is a model, not a projector");
  request.projector = folder_.write("sound.gguf", projector_gguf(false).bytes());
  expect_error(catalog->create("x", request), Code::kUnsupported, "does not see");
  request.projector = folder_.at("absent.gguf");
  expect_error(catalog->create("x", request), Code::kNotFound, "absent.gguf");
  request.projector = "@sha256:" + std::string(64, 'c');
  expect_error(catalog->create("x", request), Code::kNotFound, "not found");
  EXPECT_THAT(files_below(own_.path()), Each(StartsWith(".lock")));
  request.projector.clear();
  folder_.write("mmproj-it-F16.gguf", "words");
  ASSERT_TRUE(catalog->create("x", request));
  EXPECT_EQ(catalog->find("x")->projector_path, "");
}

TEST_F(CatalogTest, CreatingRefusesWhatItCanNotAndLeavesNothing) {
  ollama_model("base/latest", gguf_);
  const auto catalog = open();
  const auto create = [&](auto change, const std::string& name = "x") {
    CreateRequest request;
    change(request);
    return catalog->create(name, request);
  };
  expect_error(create([](CreateRequest&) {}), Code::kInvalidArgument, "neither 'from' or 'files' was specified");
  expect_error(create([](CreateRequest& r) { r.from = "absent"; }), Code::kNotFound, "model 'absent' not found");
  expect_error(create([](CreateRequest& r) { r.from = "base"; }, "a/b/c/d"), Code::kInvalidArgument, "invalid model");
  expect_error(create([](CreateRequest& r) { r.blobs = {{"f", "sha256:x"}}; }), Code::kInvalidArgument, "digest");
  expect_error(create([](CreateRequest& r) {
                 r.blobs = {{"f", "sha256:" + std::string(64, 'b')}};
               }),
               Code::kNotFound, "not found");
  expect_error(create([](CreateRequest& r) {
                 r.from = "base";
                 r.parameters = {{"stop", {1, 2}}};
               }),
               Code::kInvalidArgument, "parameter \"stop\"");
  // What could not be read again, or removed.
  const std::string long_text(5 << 20, 'x');
  expect_error(create([&](CreateRequest& r) { r.from = "base", r.system = long_text; }), Code::kInvalidArgument,
               "too long");
  expect_error(create([&](CreateRequest& r) { r.from = "base", r.template_text = long_text; }), Code::kInvalidArgument,
               "too long");
  expect_error(create([&](CreateRequest& r) { r.from = "base", r.licenses = std::vector<std::string>(2000, "x"); }),
               Code::kInvalidArgument, "more than 1000 licenses");
  const std::string text = folder_.write("text.gguf", "no model");
  expect_error(create([&](CreateRequest& r) { r.gguf_path = text; }), Code::kCorrupt, "not a GGUF");
  const std::string cut = folder_.write("cut.gguf", gguf_.substr(0, gguf_.size() - 100));
  expect_error(create([&](CreateRequest& r) { r.gguf_path = cut; }), Code::kCorrupt, "download it again");
  EXPECT_THAT(files_below(own_.path()), IsEmpty());
}

TEST_F(CatalogTest, TextsOfAModelThatDidNotComeAboutGoAgainButForThoseThatOthersUse) {
  ollama_.model(std::string(kLibrary) + "base/latest",
                {{"model", gguf_}, {"params", R"({"stop":[")" + std::string(3 << 20, 'x') + R"("]})"}});
  const auto catalog = open();
  CreateRequest request;
  request.from = "base";
  request.system = "shared";
  ASSERT_TRUE(catalog->create("mine", request));
  const auto before = own_blobs();
  request.template_text = "{{ .Prompt }} and more";
  request.messages = std::vector<ModelMessage>(kMessagesMax + 1, {"user", "hi"});
  expect_error(catalog->create("x", request), Code::kInvalidArgument, "at most 1000 messages");
  // Found out late: together with those of the base.
  request.messages.reset();
  request.parameters = {{"more", std::string(3 << 20, 'y')}};
  expect_error(catalog->create("x", request), Code::kInvalidArgument, "too long");
  EXPECT_EQ(own_blobs(), before);
  request.parameters = {{"stop", {"a"}}};
  request.licenses = std::vector<std::string>{"one"};
  // The name is a folder, which is found out last.
  std::filesystem::create_directories(own_.manifest_path(std::string(kLibrary) + "x/latest"));
  EXPECT_FALSE(catalog->create("x", request));
  EXPECT_EQ(own_blobs(), before);
}

// ---- the environment ----

TEST(CatalogOptions, FoldersComeFromTheEnvironment) {
  const auto set = [](const char* name, const char* value) {
    if (value == nullptr)
      ::unsetenv(name);
    else
      ::setenv(name, value, 1);
  };
  const char* home = std::getenv("HOME");
  const std::string old_home = home == nullptr ? "" : home;
  for (const char* name : {"SPILLWAY_MODELS", "OLLAMA_MODELS", "XDG_DATA_HOME"}) set(name, nullptr);
  set("HOME", "/h");
  EXPECT_EQ(CatalogOptions::from_environment().own_folder, "/h/.local/share/spillway/models");
  EXPECT_EQ(CatalogOptions::from_environment().ollama_folders.front(), "/h/.ollama/models");
  set("XDG_DATA_HOME", "/d");
  EXPECT_EQ(CatalogOptions::from_environment().own_folder, "/d/spillway/models");
  set("SPILLWAY_MODELS", "/m");
  set("OLLAMA_MODELS", "/o");
  EXPECT_EQ(CatalogOptions::from_environment().own_folder, "/m");
  EXPECT_THAT(CatalogOptions::from_environment().ollama_folders, ElementsAre("/o"));
  for (const char* name : {"SPILLWAY_MODELS", "OLLAMA_MODELS", "XDG_DATA_HOME"}) set(name, nullptr);
  set("HOME", old_home.c_str());
}

TEST(ModelConfig, IsOfWordsWhoeverWroteIt) {
  const std::string longer(10'000, 'y');
  std::string families;
  for (int i = 0; i < 100; ++i) families += (families.empty() ? "\"" : ",\"") + longer + "\"";
  const ModelConfig config = parse_config(R"({"model_family":"a\u001b[31m","model_type":"1\n2","file_type":")" +
                                          longer + R"(","model_families":[)" + families + "]}");
  EXPECT_EQ(config.family, "a?[31m");
  EXPECT_EQ(config.parameter_size, "1?2");
  EXPECT_LT(config.quantization.size(), 300u);
  EXPECT_LE(config.families.size(), 16u);
  EXPECT_LT(config.families[0].size(), 300u);
}

TEST(GgufFacts, AnArchitectureThatIsNoWordIsNone) {
  const TempFolder folder;
  const std::string path = folder.at("it.gguf");
  for (const std::string& name : {std::string(), std::string("llama\x1b[31m"), std::string(3'000'000, 'z')}) {
    std::ofstream(path) << GgufBytes().key("general.architecture", name).tensor({"a.weight", {32}}).bytes();
    const auto facts = facts_of_files({path});
    ASSERT_FALSE(facts) << name.size();
    EXPECT_THAT(facts.error().message(), testing::HasSubstr("names no architecture"));
  }
}

}  // namespace
}  // namespace spillway
