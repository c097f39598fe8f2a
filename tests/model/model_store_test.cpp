// SPDX-License-Identifier: MIT
// What goes from a store, and what stays. Ages are those of the files, which no test can change: so either everything
// is old enough, or nothing is.
#include "model/model_store.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <thread>

#include "../os/temp_folder.h"
#include "base/notice.h"
#include "os/draft_file.h"
#include "os/file.h"
#include "store_folder.h"

namespace spillway {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kOfLibrary = "registry.ollama.ai/library/";
constexpr KeepTimes kNoTime{.unused_s = 0, .partial_s = 0};

class ModelStoreTest : public testing::Test {
 protected:
  ModelStoreTest() {
    set_notice_sink([this](const std::string& sentence) { notices_.push_back(sentence); });
    own_.model(kOfLibrary + std::string("it/latest"), {{"model", "weights"}, {"system", "brief"}});
  }
  ~ModelStoreTest() override { set_notice_sink(nullptr); }

  // Of a process that ended before the manifest was written, or after it was removed.
  void leave_behind() {
    own_.blob("orphan");
    write_file(partial(), "the first ha");
  }
  std::string partial() const { return own_.blob_path("the first half and the rest") + "-partial"; }
  ModelStore store(KeepTimes keep = kNoTime) const { return ModelStore(own_.path(), {ollama_.path()}, keep); }
  static bool is_there(const std::string& path) { return std::filesystem::exists(path); }

  TempFolder folder_;
  StoreFolder own_{folder_.at("own")}, ollama_{folder_.at("ollama")};
  const ModelName it_ = parse_model_name("it").value();
  std::vector<std::string> notices_;
};

TEST_F(ModelStoreTest, WhatProcessesThatEndedLeftGoesOnceItIsOld) {
  leave_behind();
  store({}).remove_left_behind();
  EXPECT_TRUE(is_there(own_.blob_path("orphan"))) << "a model may be about to be made of it";
  EXPECT_TRUE(is_there(partial()));
  store({.unused_s = 0}).remove_left_behind();
  EXPECT_FALSE(is_there(own_.blob_path("orphan")));
  EXPECT_TRUE(is_there(partial())) << "a pull may continue it";
  store().remove_left_behind();
  EXPECT_FALSE(is_there(partial()));
  EXPECT_TRUE(is_there(own_.blob_path("weights")));
  EXPECT_TRUE(is_there(own_.blob_path("brief")));
}

TEST_F(ModelStoreTest, WhatProcessesThatEndedLeftGoesWithAModelThatIsRemoved) {
  leave_behind();
  ASSERT_TRUE(store().remove(it_));
  EXPECT_THAT(files_below(own_.path()), ElementsAre(".lock"));
}

TEST_F(ModelStoreTest, NothingIsLeftBehindWhereAManifestCanNotBeRead) {
  leave_behind();
  for (const StoreFolder* damaged : {&own_, &ollama_}) {
    const std::string path = damaged->manifest_path(kOfLibrary + std::string("damaged/latest"));
    write_file(path, "{");
    store().remove_left_behind();
    EXPECT_TRUE(is_there(own_.blob_path("orphan"))) << path;
    std::filesystem::remove(path);
  }
}

TEST_F(ModelStoreTest, WhatAnotherStoresManifestNamesIsNotLeftBehind) {
  own_.blob("shared");
  ollama_.model(kOfLibrary + std::string("theirs/latest"), {{"model", "shared"}});
  store().remove_left_behind();
  EXPECT_TRUE(is_there(own_.blob_path("shared")));
}

TEST_F(ModelStoreTest, WhatIsBeingFetchedIsNotLeftBehind) {
  const auto fetching = DraftFile::try_open(partial());
  ASSERT_TRUE(fetching && *fetching);
  store().remove_left_behind();
  EXPECT_TRUE(is_there(partial()));
}

TEST_F(ModelStoreTest, BlobsInAFolderOfOthersOrWithoutAnyManifestsAreNotLeftBehind) {
  leave_behind();
  std::filesystem::rename(own_.path() + "/manifests", folder_.at("moved"));
  std::filesystem::create_directory(own_.path() + "/manifests");
  store().remove_left_behind();
  EXPECT_TRUE(is_there(own_.blob_path("weights")));
  std::filesystem::rename(folder_.at("moved"), own_.path() + "/manifests");
  std::filesystem::rename(own_.path() + "/blobs", folder_.at("elsewhere"));
  std::filesystem::create_directory_symlink(folder_.at("elsewhere"), own_.path() + "/blobs");
  store().remove_left_behind();
  EXPECT_TRUE(is_there(own_.blob_path("orphan")));
}

TEST_F(ModelStoreTest, ARepositoryIsFoundUnderBothHostsOfHuggingFace) {
  own_.model("huggingface.co/me/It-GGUF/Q8_0", {{"model", "weights"}});
  const auto found = store().find(parse_model_name("hf.co/me/it-gguf:q8_0").value());
  ASSERT_TRUE(found && *found);
  EXPECT_EQ((*found)->name.full(), "huggingface.co/me/It-GGUF:Q8_0");
  // It is replaced and removed there, too: no second one comes about.
  own_.model("hf.co/me/other/Q8_0", {{"model", "weights"}});
  const ModelName other = parse_model_name("https://huggingface.co/me/other:Q8_0").value();
  const std::string manifest = read_text_file(own_.manifest_path("hf.co/me/other/Q8_0")).value();
  ASSERT_TRUE(store().commit(other, manifest));
  EXPECT_FALSE(is_there(own_.manifest_path("huggingface.co/me/other/Q8_0")));
  ASSERT_TRUE(store().remove(other));
  EXPECT_FALSE(is_there(own_.manifest_path("hf.co/me/other/Q8_0")));
  EXPECT_FALSE(store().find(parse_model_name("hf.co.example.com/me/It-GGUF:Q8_0").value()).value());
}

TEST_F(ModelStoreTest, WeightsAreInTheFolderOfBlobsOnceThereIsOne) {
  EXPECT_EQ(weights_folder(own_.path()), own_.path() + "/blobs");
  EXPECT_EQ(weights_folder(folder_.at("new")), folder_.at("new"));
  std::filesystem::create_directory(folder_.at("new"));
  std::filesystem::create_directory_symlink(folder_.at("nowhere"), folder_.at("new/blobs"));
  EXPECT_EQ(weights_folder(folder_.at("new")), folder_.at("new"));
}

// Nobody has read the other file: its content is not what the digest names.
TEST_F(ModelStoreTest, AFileThatWasReplacedWhileItWasReadIsNotAdopted) {
  const std::string path = folder_.write("it.gguf", "what was read"), digest = "sha256:" + sha256_hex("what was read");
  const auto file = open_file(path, {.direct = false}).value();
  const auto before = files_below(own_.path() + "/blobs");
  std::filesystem::rename(folder_.write("other.gguf", "another text!"), path);
  const auto adopted = store().adopt_blob(*file, digest);
  ASSERT_FALSE(adopted);
  EXPECT_EQ(adopted.error().code(), Code::kChanged);
  EXPECT_EQ(files_below(own_.path() + "/blobs"), before) << "a draft is gone, too";

  const auto there = open_file(path, {.direct = false}).value();
  ASSERT_TRUE(store().adopt_blob(*there, "sha256:" + sha256_hex("another text!")).value_or(false));
  EXPECT_EQ(read_text_file(own_.blob_path("another text!")).value(), "another text!");
}

TEST_F(ModelStoreTest, ThreadsThatLinkTheSamePartsAtOnceAllFindThem) {
  std::vector<StoreFolder::Part> parts;
  for (int i = 0; i < 300; ++i) parts.push_back({"model", std::to_string(i)});
  own_.model(kOfLibrary + std::string("split/latest"), parts);
  const Manifest manifest =
      parse_manifest(read_text_file(own_.manifest_path(kOfLibrary + std::string("split/latest"))).value()).value();
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&] {
      const auto paths = store().gguf_paths(manifest, own_.path() + "/views");
      EXPECT_TRUE(paths) << paths.error().message();
    });
  for (auto& thread : threads) thread.join();
}

TEST_F(ModelStoreTest, ALinkThatWasNotFinishedGoes) {
  const std::string link = own_.path() + "/views/abc/model-00001-of-00002.gguf.4194304";
  std::filesystem::create_directories(own_.path() + "/views/abc");
  std::filesystem::create_symlink(own_.blob_path("weights"), link);
  store({}).remove_left_behind();
  EXPECT_TRUE(std::filesystem::is_symlink(link)) << "it may be being made";
  store().remove_left_behind();
  EXPECT_THAT(files_below(own_.path() + "/views"), IsEmpty());
}

TEST_F(ModelStoreTest, WhatADamagedManifestUsedGoesWithItUnlessItIsNew) {
  const std::string path = own_.manifest_path(kOfLibrary + std::string("it/latest"));
  write_file(path, "{\"layers\": [");
  ASSERT_TRUE(store({}).remove(it_));
  EXPECT_TRUE(is_there(own_.blob_path("weights")));
  write_file(path, "{\"layers\": [");
  ASSERT_TRUE(store().remove(it_));
  EXPECT_FALSE(is_there(own_.blob_path("weights")));
}

TEST_F(ModelStoreTest, ABlobThatCanNotBeRemovedIsNamed) {
  const std::string blob = own_.blob_path("weights");
  std::filesystem::remove(blob);
  write_file(blob + "/not-empty", "");
  ASSERT_TRUE(store().remove(it_));
  EXPECT_THAT(notices_, Contains(AllOf(HasSubstr(blob), HasSubstr("no model uses it"))));
}

#if !defined(__SANITIZE_THREAD__)
TEST_F(ModelStoreTest, ANameStaysWhereItsBlobsMayNotGo) {
  const std::string blobs = own_.path() + "/blobs", path = own_.manifest_path(kOfLibrary + std::string("it/latest"));
  for (const std::string& open : {folder_.path(), own_.path(), std::filesystem::path(path).parent_path().string()})
    std::filesystem::permissions(open, std::filesystem::perms::all);
  std::filesystem::permissions(blobs, std::filesystem::perms(0555));
  const auto as_anybody = [&] {
    constexpr uid_t kNobody = 65534;  // root may remove everything
    if (::geteuid() == 0 && ::setresuid(kNobody, kNobody, kNobody) != 0) std::_Exit(2);
    const auto outcome = store().remove(it_);
    std::_Exit(!outcome && outcome.error().code() == Code::kPermissionDenied && is_there(path) ? 0 : 1);
  };
  EXPECT_EXIT(as_anybody(), testing::ExitedWithCode(0), "");
  std::filesystem::permissions(blobs, std::filesystem::perms::all);
}
#endif

}  // namespace
}  // namespace spillway
