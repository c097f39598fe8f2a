// SPDX-License-Identifier: MIT
// Hugging Face's cache and LM Studio's folder, written as those programs lay them out.
#include "model/found_models.h"

#include <gmock/gmock.h>

#include <cstdlib>
#include <filesystem>
#include <map>

#include "../os/temp_folder.h"
#include "hub_cache_folder.h"
#include "store_folder.h"

namespace spillway {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

TEST(FoundModels, ASnapshotThatMainNamesIsTheRepository) {
  const TempFolder folder;
  const HubCacheFolder cache(folder.at("hub"));
  cache.file("me/it-GGUF", kCommitA, "it-Q4_K_M.gguf", "a");
  cache.file("me/it-GGUF", kCommitA, "Q8_0/it-00001-of-00002.gguf", "b");
  cache.file("me/it-GGUF", kCommitA, "config.json", "{}");
  cache.ref("me/it-GGUF", "main", kCommitA);
  write_file(cache.path() + "/models--me--it-GGUF/blobs/123.incomplete", "x");
  write_file(cache.path() + "/models--gpt2/snapshots/" + kCommitA + "/x.gguf", "x");        // of the time before users
  write_file(cache.path() + "/datasets--me--data/snapshots/" + kCommitA + "/x.gguf", "x");  // no models
  fs::create_directories(cache.path() + "/.locks");
  const auto found = repositories_in_hub_cache(cache.path());
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_EQ(found[0].user, "me");
  EXPECT_EQ(found[0].repository, "it-GGUF");
  EXPECT_EQ(found[0].revision, "main");
  EXPECT_THAT(found[0].paths, ElementsAre("Q8_0/it-00001-of-00002.gguf", "it-Q4_K_M.gguf"));
  EXPECT_TRUE(fs::exists(found[0].folder + "/it-Q4_K_M.gguf"));
  EXPECT_TRUE(found[0].is_revision("main"));
  EXPECT_TRUE(found[0].is_revision(kCommitA));
  EXPECT_TRUE(found[0].is_revision(std::string(kCommitA).substr(0, 7)));
  EXPECT_FALSE(found[0].is_revision(std::string(kCommitA).substr(0, 6)));
}

TEST(FoundModels, OtherRevisionsShowOnlyWhatMainDoesNotHave) {
  const TempFolder folder;
  const HubCacheFolder cache(folder.at("hub"));
  cache.file("me/it", kCommitA, "same.gguf", "a");
  cache.file("me/it", kCommitB, "same.gguf", "a");
  cache.file("me/it", kCommitB, "new.gguf", "b");
  cache.ref("me/it", "main", kCommitA);
  cache.ref("me/it", "refs/pr/1", kCommitB);
  const auto found = repositories_in_hub_cache(cache.path());
  ASSERT_THAT(found, SizeIs(2));
  EXPECT_THAT(found[0].paths, ElementsAre("same.gguf"));
  EXPECT_EQ(found[1].revision, "refs/pr/1");
  EXPECT_THAT(found[1].paths, ElementsAre("new.gguf"));
}

TEST(FoundModels, WithoutARefTheNewestSnapshotIsMain) {
  const TempFolder folder;
  const HubCacheFolder cache(folder.at("hub"));
  cache.file("me/it", kCommitA, "x.gguf", "old");
  cache.file("me/it", kCommitB, "x.gguf", "new");
  fs::last_write_time(
      cache.path() + "/models--me--it/snapshots/" + kCommitA,
      fs::last_write_time(cache.path() + "/models--me--it/snapshots/" + kCommitB) - std::chrono::hours(1));
  const auto found = repositories_in_hub_cache(cache.path());
  ASSERT_THAT(found, SizeIs(2));
  EXPECT_EQ(found[0].revision, "main");
  EXPECT_EQ(found[0].commit, kCommitB);
  EXPECT_EQ(found[1].revision, kCommitA);
}

TEST(FoundModels, WhatIsDamagedOrElsewhereIsOverlooked) {
  const TempFolder folder;
  const HubCacheFolder cache(folder.at("hub"));
  cache.file("me/it", kCommitA, "x.gguf", "a");
  cache.ref("me/it", "main", "../../../../etc");
  cache.ref("me/it", "v1", "");
  fs::create_symlink("../../blobs/gone", cache.path() + "/models--me--it/snapshots/" + kCommitA + "/broken.gguf");
  fs::create_directory_symlink(folder.path(), cache.path() + "/models--me--it/snapshots/" + kCommitA + "/loop");
  fs::create_directories(cache.path() + "/models--me/snapshots");
  fs::create_directories(cache.path() + "/models--a b--c/snapshots/x");
  const auto found = repositories_in_hub_cache(cache.path());
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_THAT(found[0].paths, ElementsAre("x.gguf"));
  EXPECT_THAT(repositories_in_hub_cache(folder.at("absent")), IsEmpty());
}

TEST(FoundModels, LmStudioHasAFolderForEachRepository) {
  const TempFolder folder;
  const std::string models = folder.at("models");
  write_file(models + "/me/it-GGUF/it-Q4_K_M.gguf", "a");
  write_file(models + "/me/it-GGUF/mmproj.gguf", "a");
  write_file(models + "/me/mlx/model.safetensors", "a");
  write_file(models + "/My Own/Some Model/x.gguf", "a");  // no names on Hugging Face
  write_file(models + "/loose.gguf", "a");
  const auto found = repositories_in_lm_studio(models);
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_EQ(found[0].user + "/" + found[0].repository, "me/it-GGUF");
  EXPECT_THAT(found[0].paths, ElementsAre("it-Q4_K_M.gguf", "mmproj.gguf"));
}

class FoundFoldersTest : public testing::Test {
 protected:
  FoundFoldersTest() {
    for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"}) {
      const char* value = std::getenv(name);
      if (value != nullptr) before_[name] = value;
      ::unsetenv(name);
    }
    ::setenv("HOME", folder_.path().c_str(), 1);
  }
  ~FoundFoldersTest() override {
    for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"})
      ::unsetenv(name);
    for (const auto& [name, value] : before_) ::setenv(name.c_str(), value.c_str(), 1);
  }

  TempFolder folder_;
  std::map<std::string, std::string> before_;
};

TEST_F(FoundFoldersTest, TheEnvironmentSaysWhereTheCacheIs) {
  EXPECT_THAT(hub_cache_folders(), IsEmpty());
  for (const char* below : {".cache/huggingface/hub", "xdg/huggingface/hub", "hf/hub", "direct"})
    fs::create_directories(folder_.at(below));
  EXPECT_THAT(hub_cache_folders(), ElementsAre(folder_.at(".cache/huggingface/hub")));
  ::setenv("XDG_CACHE_HOME", folder_.at("xdg").c_str(), 1);
  EXPECT_THAT(hub_cache_folders(), ElementsAre(folder_.at("xdg/huggingface/hub")));
  ::setenv("HF_HOME", "~/hf", 1);
  EXPECT_THAT(hub_cache_folders(), ElementsAre(folder_.at("hf/hub")));
  ::setenv("HF_HUB_CACHE", folder_.at("direct").c_str(), 1);
  EXPECT_THAT(hub_cache_folders(), ElementsAre(folder_.at("direct")));
}

TEST_F(FoundFoldersTest, LmStudiosSettingsSayWhereItsModelsAre) {
  EXPECT_THAT(lm_studio_folders(), IsEmpty());
  for (const char* below : {".lmstudio/models", "moved/models", "elsewhere"}) fs::create_directories(folder_.at(below));
  EXPECT_THAT(lm_studio_folders(), ElementsAre(folder_.at(".lmstudio/models")));
  write_file(folder_.at(".lmstudio/settings.json"), R"({"downloadsFolder":")" + folder_.at("elsewhere") + R"("})");
  EXPECT_THAT(lm_studio_folders(), ElementsAre(folder_.at("elsewhere"), folder_.at(".lmstudio/models")));
  write_file(folder_.at(".lmstudio-home-pointer"), folder_.at("moved") + "\n");
  EXPECT_THAT(lm_studio_folders(),
              ElementsAre(folder_.at("moved/models"), folder_.at("elsewhere"), folder_.at(".lmstudio/models")));
  write_file(folder_.at(".lmstudio/settings.json"), "damaged");
  EXPECT_THAT(lm_studio_folders(), ElementsAre(folder_.at("moved/models"), folder_.at(".lmstudio/models")));
}

}  // namespace
}  // namespace spillway
