// SPDX-License-Identifier: MIT
// Models that are looked at before they are here, on a small hub of our own.
#include "fetch/remote_model.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <memory>
#include <new>
#include <thread>

#include "../model/hub_cache_folder.h"
#include "../model/store_folder.h"
#include "../os/temp_folder.h"
#include "fake_hub.h"
#include "model/gguf_metadata.h"
#include "model/gguf_model.h"
#include "os/file.h"

namespace spillway {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

constexpr uint64_t kMiB = 1 << 20, kGiB = 1 << 30;

std::vector<std::string> vocabulary(size_t n_tokens, const std::string& salt = "") {
  std::vector<std::string> tokens;
  for (size_t i = 0; i < n_tokens; ++i) tokens.push_back(salt + "a token of some length " + std::to_string(i));
  return tokens;
}

// The beginning of a model of two layers, and how long the whole of it is.
FakeHub::File large_model(uint32_t type = 8, const std::vector<std::string>& tokens = vocabulary(20'000),
                          int64_t n_wide = 1 << 20) {
  GgufBytes model;
  model.key("general.architecture", "llama")
      .key("general.type", "model")
      .key("general.name", "Large")
      .key_u32("general.file_type", type == 8 ? 7 : 0)
      .key_u32("llama.block_count", 2)
      .key_u32("llama.embedding_length", 4096)
      .key_u32("llama.context_length", 8192)
      .key("tokenizer.ggml.model", "gpt2")
      .key_strings("tokenizer.ggml.tokens", tokens)
      .key_u32s("tokenizer.ggml.token_type", std::vector<uint32_t>(tokens.size(), 1))
      .key_u32("tokenizer.ggml.bos_token_id", 1)
      .tensor({"token_embd.weight", {4096, 32000}, type})
      .tensor({"blk.0.ffn_up.weight", {4096, n_wide}, type})
      .tensor({"blk.1.ffn_up.weight", {4096, n_wide}, type});
  model.data_bytes = 0;
  const uint64_t values = 4096 * (32000 + 2 * static_cast<uint64_t>(n_wide));
  FakeHub::File file{.content = model.bytes(), .disk_path = {}};
  file.total_bytes = file.content.size() + (type == 8 ? values / 32 * 34 : values * 4);
  return file;
}

class RemoteModelTest : public testing::Test {
 protected:
  RemoteModelTest() {
    options_.own_folder = folder_.at("own");
    options_.hf_url = options_.registry_url = hub_.url();
    options_.attempts = 3;
    options_.backoff_first_s = 0.001;
    options_.stall_timeout_s = 2;
  }

  Result<RemoteModel> look(const std::string& name) { return inspect_remote(parse_model_name(name).value(), options_); }
  Result<std::vector<RemoteChoice>> inspect_all(const std::string& name) {
    return inspect_repository(parse_model_name(name).value(), options_);
  }

  void expect_refused(const std::string& name, Code code, const std::string& words) {
    const auto outcome = look(name);
    ASSERT_FALSE(outcome) << name;
    EXPECT_STREQ(code_name(outcome.error().code()), code_name(code)) << outcome.error().message();
    EXPECT_THAT(outcome.error().message(), AllOf(HasSubstr(words), Not(HasSubstr("\n"))));
  }

  TempFolder folder_;
  FakeHub hub_;
  PullOptions options_;
};

TEST_F(RemoteModelTest, OnlyTheBeginningOfALargeModelIsFetched) {
  const FakeHub::File file = large_model(8, vocabulary(300'000));  // 12 MB of metadata
  ASSERT_GT(file.content.size(), 10 * kMiB);
  hub_.add("me/large-GGUF", "large-Q8_0.gguf", file);
  const auto remote = look("hf.co/me/large-GGUF:Q8_0");
  ASSERT_TRUE(remote) << remote.error().message();
  EXPECT_EQ(remote->file, "large-Q8_0.gguf");
  EXPECT_EQ(remote->size_bytes, file.total_bytes);
  EXPECT_EQ(remote->download_bytes, file.total_bytes);
  EXPECT_GT(remote->size_bytes, 8 * kGiB);
  EXPECT_LT(hub_.bytes_sent(), 2 * file.content.size());
  EXPECT_EQ(hub_.site().count("/resolve/"), 2u) << "once for what it is, once for all of it";
  EXPECT_THAT(files_below(folder_.path()), IsEmpty());

  const GgufModel& model = remote->model;
  EXPECT_EQ(model.architecture, "llama");
  EXPECT_EQ(model.n_layer, 2u);
  EXPECT_EQ(model.n_vocab, 32000u);
  EXPECT_TRUE(model.has_tokenizer);
  ASSERT_THAT(model.tensors, SizeIs(3));
  EXPECT_EQ(model.tensors[2].range.end(), file.total_bytes);
  EXPECT_THAT(model.paths(), ElementsAre("hf.co/me/large-GGUF/large-Q8_0.gguf"));
  std::byte byte{};
  const auto read = model.files[0]->read_at(0, {&byte, 1});
  ASSERT_FALSE(read);
  EXPECT_THAT(read.error().message(), HasSubstr("is not on this machine"));
}

TEST_F(RemoteModelTest, AServerWithoutRangesIsLeftWhenEnoughCame) {
  hub_.knows_ranges = false;
  const FakeHub::File file = large_model();
  hub_.add("me/it", "it-Q8_0.gguf", file);
  const auto remote = look("hf.co/me/it");
  ASSERT_TRUE(remote) << remote.error().message();
  EXPECT_THAT(remote->model.tensors, SizeIs(3));
}

TEST_F(RemoteModelTest, AllPartsOfASplitModelInAFolderAreLookedAt) {
  GgufBytes first = chat_model(), second;
  first.key_u16("split.count", 2);
  second.key_u16("split.no", 1).key_u16("split.count", 2).tensor({"blk.1.attn_q.weight", {32, 32}, 8});
  hub_.add("me/it", "Q8_0/it-Q8_0-00001-of-00002.gguf", first.bytes());
  hub_.add("me/it", "Q8_0/it-Q8_0-00002-of-00002.gguf", second.bytes());
  hub_.add("me/it", "Q2_K/it-Q2_K-00001-of-00002.gguf", first.bytes());
  const auto remote = look("hf.co/me/it:Q8_0");
  ASSERT_TRUE(remote) << remote.error().message();
  EXPECT_THAT(remote->model.tensors, SizeIs(3));
  EXPECT_EQ(remote->size_bytes, first.bytes().size() + second.bytes().size());
  EXPECT_THAT(remote->model.paths(), ElementsAre("hf.co/me/it/Q8_0/it-Q8_0-00001-of-00002.gguf",
                                                 "hf.co/me/it/Q8_0/it-Q8_0-00002-of-00002.gguf"));
  EXPECT_EQ(look("hf.co/me/it/Q8_0/it-Q8_0-00002-of-00002.gguf")->file, "Q8_0/it-Q8_0-00001-of-00002.gguf");
  expect_refused("hf.co/me/it:Q2_K", Code::kCorrupt, "the part Q2_K/it-Q2_K-00002-of-00002.gguf is missing");
}

TEST_F(RemoteModelTest, RevisionsAndNamesWithAnyCharacterAreAskedForAsTheyAre) {
  hub_.add("me/it", "a folder/My Model (v2) #1.gguf", chat_model().bytes(), "refs/pr/1");
  hub_.add("me/it", "it-Q8_0.gguf", chat_model().bytes());
  const auto remote = look("hf.co/me/it@refs/pr/1/a folder/My Model (v2) #1.gguf");
  ASSERT_TRUE(remote) << remote.error().message();
  EXPECT_EQ(remote->file, "a folder/My Model (v2) #1.gguf");
  EXPECT_EQ(hub_.site().count("/tree/refs%2Fpr%2F1?"), 1u);
  expect_refused("hf.co/me/it@v9", Code::kNotFound, "it has no revision 'v9'");
  expect_refused("hf.co/me/it:Q8_0@refs/pr/1", Code::kNotFound, "nothing is called 'Q8_0'");
}

TEST_F(RemoteModelTest, WhatIsNoModelIsNotChosenWhateverItsName) {
  GgufBytes drafter, projector, guessing;
  drafter.key("general.architecture", "eagle3").tensor({"x", {32}});
  projector.key("general.architecture", "clip").key("general.type", "mmproj").tensor({"v.x", {32}});
  guessing.key("general.architecture", "qwen35")
      .key_u32("qwen35.block_count", 3)
      .key_u32("qwen35.nextn_predict_layers", 1)
      .key_strings("tokenizer.ggml.tokens", vocabulary(5000))
      .tensor({"blk.2.attn_q.weight", {32, 32}});
  hub_.add("me/it", "it-Q4_K_M.gguf", projector.bytes());
  hub_.add("me/it", "it-other-Q4_K_M.gguf", guessing.bytes());
  hub_.add("me/it", "mtp-it-Q4_K_M.gguf", chat_model().bytes());
  EXPECT_EQ(look("hf.co/me/it:Q4_K_M")->file, "mtp-it-Q4_K_M.gguf");
  expect_refused("hf.co/me/it/it-Q4_K_M.gguf", Code::kUnsupported, "it-Q4_K_M.gguf is a projector");

  hub_.add("me/beside", "imatrix.gguf", drafter.bytes());
  hub_.add("me/beside", "mmproj.gguf", projector.bytes());
  expect_refused("hf.co/me/beside", Code::kUnsupported, "mmproj.gguf is a projector");
  EXPECT_EQ(inspect_all("hf.co/me/beside").error().code(), Code::kUnsupported);
  hub_.add("me/none", "model.safetensors", std::string("x"));
  expect_refused("hf.co/me/none", Code::kNotFound, "no GGUF file");
}

TEST_F(RemoteModelTest, AFileThatEndsTooSoonIsFoundBeforeItIsDownloaded) {
  FakeHub::File cut = large_model(), short_header = cut;
  cut.total_bytes -= 1000;
  short_header.content.resize(short_header.content.size() / 2);
  short_header.total_bytes = short_header.content.size();
  hub_.add("me/cut", "it-Q8_0.gguf", cut);
  hub_.add("me/header", "it-Q8_0.gguf", short_header);
  hub_.add("me/text", "it-Q8_0.gguf", std::string("this is text"));
  hub_.add("me/empty", "it-Q8_0.gguf", std::string());
  expect_refused("hf.co/me/cut", Code::kCorrupt, "ends inside tensor");
  expect_refused("hf.co/me/header", Code::kCorrupt, "behind the end of the file");
  expect_refused("hf.co/me/text", Code::kCorrupt, "is not a GGUF");
  expect_refused("hf.co/me/empty", Code::kCorrupt, "is empty");
}

TEST_F(RemoteModelTest, AGatedRepositorySaysWhatToDo) {
  hub_.gated = "me/gated";
  hub_.token = "hf_right";
  hub_.add("me/gated", "it-Q8_0.gguf", chat_model().bytes());
  expect_refused("hf.co/me/gated", Code::kPermissionDenied, "HF_TOKEN");
  expect_refused("hf.co/me/gated", Code::kPermissionDenied, "401");
  options_.hf_token = "hf_wrong";
  expect_refused("hf.co/me/gated", Code::kPermissionDenied, "403");
  options_.hf_token = "hf_right";
  EXPECT_TRUE(look("hf.co/me/gated"));
  for (const TestRequest& request : hub_.network().requests()) EXPECT_EQ(request.header("authorization"), "");
  options_.hf_token.clear();
  expect_refused("hf.co/me/absent", Code::kPermissionDenied, "no such repository, or not for everybody");
}

TEST_F(RemoteModelTest, ABusySiteIsAskedAgainAndAnAbsentOneIsGivenUpSoon) {
  hub_.add("me/it", "it-Q8_0.gguf", chat_model().bytes());
  hub_.busy = 2;
  EXPECT_TRUE(look("hf.co/me/it"));
  hub_.busy = 100;
  expect_refused("hf.co/me/it", Code::kUnavailable, "too many requests");
  {
    const TestServer gone([](const TestRequest&) { return TestAnswer(); });
    options_.hf_url = gone.url();
  }
  options_.backoff_first_s = 0.01;
  options_.attempts = 100;  // which would take minutes
  expect_refused("hf.co/me/it", Code::kUnavailable, "127.0.0.1");
  options_.hf_offline = true;
  expect_refused("hf.co/me/it", Code::kUnavailable, "HF_HUB_OFFLINE");
}

TEST_F(RemoteModelTest, AnAddressThatARedirectGaveIsAskedForAnewWhenItEnds) {
  hub_.add("me/it", "it-Q8_0.gguf", large_model());
  hub_.address_uses = 2;
  const auto remote = look("hf.co/me/it");
  ASSERT_TRUE(remote) << remote.error().message();
  EXPECT_THAT(remote->model.tensors, SizeIs(3));
}

TEST_F(RemoteModelTest, WhatIsHereAlreadyNeedNotCome) {
  const std::string content = chat_model().bytes();
  hub_.add("me/it", "it-Q8_0.gguf", content);
  write_file(options_.own_folder + "/blobs/sha256-" + sha256_hex(content) + "-partial", content.substr(0, 100));
  EXPECT_EQ(look("hf.co/me/it")->download_bytes, content.size() - 100);
  const HubCacheFolder cache(folder_.at("hub"));
  cache.file("me/it", kCommitA, "it-Q8_0.gguf", content);
  options_.hub_cache_folders = {cache.path()};
  EXPECT_EQ(look("hf.co/me/it")->download_bytes, 0u);
  // A pull makes a link of it.
  const uint64_t before = hub_.bytes_sent();
  ASSERT_TRUE(pull("hf.co/me/it", options_));
  EXPECT_LE(hub_.bytes_sent() - before, content.size());
  EXPECT_EQ(std::filesystem::hard_link_count(options_.own_folder + "/blobs/sha256-" + sha256_hex(content)), 2u);
}

TEST_F(RemoteModelTest, AProjectorCountsAmongWhatWouldCome) {
  const std::string model = chat_model().bytes(), projector = projector_gguf().bytes();
  hub_.add("me/it", "it-Q8_0.gguf", model);
  hub_.add("me/it", "mmproj-it-F16.gguf", projector);
  auto remote = look("hf.co/me/it");
  ASSERT_TRUE(remote) << remote.error().message();
  EXPECT_EQ(remote->projector_file, "mmproj-it-F16.gguf");
  ASSERT_TRUE(remote->projector);
  EXPECT_GT(remote->projector->need_bytes(), kImageWorkBytes + 32 * 32 * 4);
  EXPECT_EQ(remote->size_bytes, model.size() + projector.size());
  options_.projectors = false;
  remote = look("hf.co/me/it");
  EXPECT_FALSE(remote->projector);
  EXPECT_EQ(remote->download_bytes, model.size());
}

TEST_F(RemoteModelTest, EveryModelOfARepositoryIsLookedAtAndTheVocabularyFetchedOnce) {
  const std::vector<std::string> tokens = vocabulary(50'000);  // 2 MB
  uint64_t header_bytes = 0;
  for (const auto& [path, type, n_wide] :
       {std::tuple("it-Q8_0.gguf", 8u, int64_t{1} << 20), std::tuple("it-F32.gguf", 0u, int64_t{1} << 20),
        std::tuple("it-Q2_K.gguf", 8u, int64_t{1} << 18), std::tuple("it-Q3_K.gguf", 8u, int64_t{1} << 19)}) {
    const FakeHub::File file = large_model(type, tokens, n_wide);
    header_bytes = file.content.size();
    hub_.add("me/it", path, file);
  }
  GgufBytes projector;
  projector.key("general.architecture", "clip").tensor({"v.x", {32}});
  hub_.add("me/it", "mmproj-F16.gguf", projector.bytes());
  hub_.add("me/it", "broken-Q4_0.gguf", std::string("text"));
  hub_.add("me/it", "half-Q5_K_M-00001-of-00002.gguf", chat_model().bytes());
  std::vector<size_t> progress;
  const auto models =
      inspect_repository(parse_model_name("hf.co/me/it").value(), options_, [&](size_t done, size_t total) {
        EXPECT_EQ(total, 7u);
        progress.push_back(done);
      });
  ASSERT_TRUE(models) << models.error().message();
  std::vector<std::string> names, failures;
  for (const RemoteChoice& one : *models) {
    if (one.model)
      names.push_back(one.name.shown());
    else
      failures.push_back(one.model.error().message());
  }
  EXPECT_THAT(names, ElementsAre("hf.co/me/it:Q2_K", "hf.co/me/it:Q3_K", "hf.co/me/it:Q8_0", "hf.co/me/it:F32"));
  EXPECT_THAT(failures, ElementsAre(HasSubstr("not a GGUF"), HasSubstr("half-Q5_K_M-00002-of-00002.gguf is missing")));
  EXPECT_LT(hub_.bytes_sent(), 3 * header_bytes) << "one vocabulary, and what it takes to find its end";
  EXPECT_THAT(progress, Not(IsEmpty()));
  // What was put together is what is there.
  for (const RemoteChoice& one : *models)
    if (one.model) {
      ASSERT_THAT(one.model->tensors, SizeIs(3));
      EXPECT_EQ(one.model->tensors[2].range.end(), one.size_bytes);
      EXPECT_EQ(look(one.name.shown())->model.tensors[2].range.offset, one.model->tensors[2].range.offset);
    }
}

TEST_F(RemoteModelTest, AnotherVocabularyIsNoticedAndFetched) {
  hub_.add("me/it", "a-Q8_0.gguf", large_model(8, vocabulary(20'000)));
  hub_.add("me/it", "b-Q8_0.gguf", large_model(8, vocabulary(20'000, "other ")));
  hub_.add("me/it", "c-Q8_0.gguf", large_model(8, vocabulary(3'000)));
  // The same at first.
  std::vector<std::string> tokens = vocabulary(20'000);
  for (size_t i = 15'000; i < tokens.size(); ++i) tokens[i] += " and more";
  hub_.add("me/it", "d-Q8_0.gguf", large_model(8, tokens));
  tokens.resize(30'000, "more");
  hub_.add("me/it", "e-Q8_0.gguf", large_model(8, tokens));
  const auto models = inspect_all("hf.co/me/it");
  ASSERT_TRUE(models) << models.error().message();
  ASSERT_THAT(*models, SizeIs(5));
  for (const RemoteChoice& one : *models) {
    ASSERT_TRUE(one.model) << one.file << ": " << one.model.error().message();
    EXPECT_EQ(one.model->tensors[2].range.end(), one.size_bytes) << one.file;
  }
}

// A text that is too long to be kept is no key of the metadata, and is what two files have in common all the same.
TEST_F(RemoteModelTest, ALongTextBehindAllOtherKeysIsFetchedOnce) {
  GgufBytes model = chat_model();
  const std::string content = model.key("general.history", std::string(17 * kMiB, 'x')).bytes();
  for (const char* path : {"a-Q8_0.gguf", "b-Q8_0.gguf", "c-Q8_0.gguf"}) hub_.add("me/it", path, content);
  const auto models = inspect_all("hf.co/me/it");
  ASSERT_TRUE(models) << models.error().message();
  ASSERT_THAT(*models, SizeIs(3));
  for (const RemoteChoice& one : *models) EXPECT_TRUE(one.model) << one.model.error().message();
  EXPECT_LT(hub_.bytes_sent(), 2 * content.size());
}

// The offset of the last tensor is passed over, not read: it may be what the first request does not bring.
TEST_F(RemoteModelTest, MetadataMayEndAnywhere) {
  const auto model_with = [](size_t filler) {
    GgufBytes model = chat_model();
    return model.key("general.filler", std::string(filler, 'x')).tensor({"last.weight", {32}}).bytes();
  };
  const std::string path = folder_.write("local.gguf", model_with(0));
  const uint64_t header_bytes = read_gguf_metadata(*open_file(path, {.direct = false}).value())->header_bytes;
  std::filesystem::remove(path);
  for (const uint64_t behind : {0u, 1u, 8u, 9u})
    hub_.add("me/it", "m" + std::to_string(behind) + ".gguf", model_with(64 * 1024 + behind - header_bytes));
  for (const uint64_t behind : {0u, 1u, 8u, 9u}) {
    const auto remote = look("hf.co/me/it/m" + std::to_string(behind) + ".gguf");
    EXPECT_TRUE(remote) << behind << ": " << remote.error().message();
  }
}

TEST_F(RemoteModelTest, WhatIsThrownOnAThreadIsThrownWhereSomebodyMayCatchIt) {
  for (const char* path : {"a-Q8_0.gguf", "b-Q8_0.gguf", "c-Q8_0.gguf"}) hub_.add("me/it", path, chat_model().bytes());
  options_.cancelled = [caller = std::this_thread::get_id()]() -> bool {
    if (std::this_thread::get_id() != caller) throw std::bad_alloc();
    return false;
  };
  EXPECT_THROW((void)inspect_all("hf.co/me/it"), std::bad_alloc);
}

TEST_F(RemoteModelTest, ARegistrysModelIsLookedAtByItsManifest) {
  const std::string gguf = chat_model().bytes(), system = "Be brief.", config = "{}";
  const std::string manifest = R"({"schemaVersion":2,"config":)" +
                               StoreFolder::layer("application/vnd.docker.container.image.v1+json", config) +
                               R"(,"layers":[)" + StoreFolder::layer("application/vnd.ollama.image.system", system) +
                               "," + StoreFolder::layer("application/vnd.ollama.image.model", gguf) + "]}";
  const TestServer registry([&](const TestRequest& request) -> TestAnswer {
    if (request.target == "/v2/library/it/manifests/7b") return {.body = manifest};
    if (request.target == "/v2/library/it/blobs/sha256:" + sha256_hex(gguf)) return answer_range(request, gguf);
    return {.status = 404};
  });
  options_.registry_url = registry.url();
  const auto remote = look("it:7b");
  ASSERT_TRUE(remote) << remote.error().message();
  EXPECT_EQ(remote->size_bytes, gguf.size());
  EXPECT_EQ(remote->model.architecture, "llama");
  EXPECT_THAT(remote->model.paths(), ElementsAre("it:7b"));
  EXPECT_EQ(registry.count(sha256_hex(system)), 0u);
  expect_refused("it:8b", Code::kNotFound, "model 'it:8b' not found");
}

}  // namespace
}  // namespace spillway
