// SPDX-License-Identifier: MIT
#include "serving/prompt_cache.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>

#include "base/bytes.h"
#include "os/temp_folder.h"
#include "serving/scripted_engine.h"
#include "serving/token_ids.h"

namespace spillway {
namespace {

namespace fs = std::filesystem;

class PromptCacheTest : public testing::Test {
 protected:
  PromptCacheOptions options() const {
    return {.model_key = "model 1",
            .memory_bytes_max = 400,
            .folder = folder_.path() + "/kv",
            .disk_bytes_max = 3000,
            .disk_tokens_min = 8};
  }
  bool store(PromptCache& cache, const std::string& text) {
    engine_.context[0] = text;
    return cache.store(engine_, 0, ids(text), text.size());
  }
  void keep(PromptCache& cache, const std::string& text, StatePart part = StatePart::kWhole) {
    engine_.context[0] = text;
    cache.keep(engine_, 0, ids(text), text.size(), part);
  }
  // The longest beginning of `prompt` that an entry has.
  static std::string find(const PromptCache& cache, const std::string& prompt) {
    size_t n = 0;
    for (const PromptCache::Kept& kept : cache.kept()) n = std::max(n, common_prefix(kept.tokens, ids(prompt)));
    return prompt.substr(0, n);
  }
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    if (fs::exists(folder_.path() + "/kv"))
      for (const auto& item : fs::directory_iterator(folder_.path() + "/kv"))
        names.push_back(item.path().extension().string());
    std::sort(names.begin(), names.end());
    return names;
  }
  void damage(const std::string& extension, size_t at) {
    for (const auto& item : fs::directory_iterator(folder_.path() + "/kv")) {
      if (item.path().extension() != extension) continue;
      std::fstream file(item.path(), std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(static_cast<std::streamoff>(at));
      file.put('~');
    }
  }

  TempFolder folder_;
  ScriptedEngine engine_;
};

TEST_F(PromptCacheTest, WhatIsOnDiskIsFoundByALaterProcess) {
  EXPECT_TRUE(store(*PromptCache::open(options()), "a long preamble, then one"));
  const auto cache = PromptCache::open(options());
  EXPECT_EQ(find(*cache, "a long preamble, then two"), "a long preamble, then ");
  ASSERT_EQ(cache->kept().size(), 1u);
  EXPECT_TRUE(cache->kept()[0].on_disk);
  EXPECT_EQ(cache->kept()[0].n_as_prompt, std::string("a long preamble, then one").size());
  ASSERT_TRUE(cache->restore(cache->kept()[0].id, engine_, 5));
  EXPECT_EQ(engine_.context[5], "a long preamble, then one");
}

TEST(ConsiderateDisk, LeavesAQuarterOfWhatIsFreeUpToAGibibyte) {
  EXPECT_EQ(considerate_disk_bytes(10 * GiB, 0, 100 * GiB), 10 * GiB);
  EXPECT_EQ(considerate_disk_bytes(10 * GiB, 2 * GiB, 6 * GiB), 7 * GiB);
  EXPECT_EQ(considerate_disk_bytes(10 * GiB, 0, 400 * MiB), 300 * MiB);
  EXPECT_EQ(considerate_disk_bytes(10 * GiB, 0, 0), 0u);
  EXPECT_EQ(considerate_disk_bytes(10 * GiB, 400 * MiB, 0), 300 * MiB) << "others filled it: some of ours goes";
}

TEST_F(PromptCacheTest, WhatIsOnDiskIsForItsOwnerAlone) {
  fs::create_directories(folder_.path() + "/kv");
  fs::permissions(folder_.path() + "/kv", fs::perms(0755));
  EXPECT_TRUE(store(*PromptCache::open(options()), "a long preamble, then one"));
  EXPECT_EQ(fs::status(folder_.path() + "/kv").permissions(), fs::perms(0700));
  for (const auto& item : fs::directory_iterator(folder_.path() + "/kv"))
    EXPECT_EQ(item.status().permissions(), fs::perms(0600)) << item.path();
}

TEST_F(PromptCacheTest, AnotherModelsEntriesAreNotFound) {
  EXPECT_TRUE(store(*PromptCache::open(options()), "a long preamble"));
  PromptCacheOptions other = options();
  other.model_key = "model 2";
  EXPECT_EQ(find(*PromptCache::open(other), "a long preamble"), "");
  EXPECT_EQ(find(*PromptCache::open(options()), "a long preamble"), "a long preamble") << "and not removed";
}

TEST_F(PromptCacheTest, WhatAnotherContextComputedIsOfNoUseAndStaysForIt) {
  const auto cache = PromptCache::open(options());
  EXPECT_TRUE(store(*cache, "a long preamble"));
  keep(*cache, "a long preamble, and on");
  cache->use_context("long");
  EXPECT_EQ(find(*cache, "a long preamble, and on"), "");
  EXPECT_EQ(cache->stats().memory_bytes, 0u);
  EXPECT_TRUE(store(*cache, "a long preamble that is another"));
  cache->use_context("");
  EXPECT_EQ(find(*cache, "a long preamble that is another"), "a long preamble");
}

TEST_F(PromptCacheTest, DamagedBytesAreNeverRestored) {
  EXPECT_TRUE(store(*PromptCache::open(options()), "a long preamble"));
  damage(".kv", 3);
  const auto cache = PromptCache::open(options());
  ASSERT_EQ(cache->kept().size(), 1u);
  const auto restored = cache->restore(cache->kept()[0].id, engine_, 5);
  ASSERT_FALSE(restored);
  EXPECT_EQ(restored.error().code(), Code::kCorrupt);
  EXPECT_EQ(engine_.context[5], "");
  EXPECT_TRUE(files().empty());
  EXPECT_TRUE(cache->kept().empty());
}

TEST_F(PromptCacheTest, ADamagedIndexEntryIsIgnored) {
  for (const size_t at : {0u, 9u, 30u, 60u}) {
    EXPECT_TRUE(store(*PromptCache::open(options()), "a long preamble"));
    damage(".meta", at);
    EXPECT_EQ(find(*PromptCache::open(options()), "a long preamble"), "") << at;
    EXPECT_TRUE(files().empty()) << at;
  }
}

TEST_F(PromptCacheTest, WhatACrashLeftBehindIsRemoved) {
  EXPECT_TRUE(store(*PromptCache::open(options()), "a long preamble"));
  for (const auto& item : fs::directory_iterator(folder_.path() + "/kv"))
    if (item.path().extension() == ".meta") fs::remove(item.path());
  EXPECT_EQ(find(*PromptCache::open(options()), "a long preamble"), "");
  EXPECT_EQ(files(), std::vector<std::string>{".kv"}) << "it may be being written";
  for (const auto& item : fs::directory_iterator(folder_.path() + "/kv"))
    fs::last_write_time(item.path(), fs::file_time_type::clock::now() - std::chrono::hours(2));
  EXPECT_EQ(find(*PromptCache::open(options()), "a long preamble"), "");
  EXPECT_TRUE(files().empty());
}

TEST_F(PromptCacheTest, WhatIsNotOursStaysAndIsNotWaitedFor) {
  const std::string folder = folder_.path() + "/kv", stem = folder + "/0123456789abcdef-0123456789abcdef";
  fs::create_directories(folder);
  const std::vector<std::string> theirs = {folder + "/photo.meta", folder + "/notes.kv", folder + "/0123.tmp",
                                           stem + "-d.kv", stem + ".meta.1.0.tmp"};
  for (const std::string& path : theirs) std::ofstream(path) << "precious";
  ASSERT_EQ(::mkfifo((stem + ".meta").c_str(), 0600), 0);
  ASSERT_EQ(::mkfifo((stem + "-c.kv").c_str(), 0600), 0);
  const std::string dead = stem + ".kv.1.0.tmp";
  std::ofstream(dead) << "half of it";
  fs::last_write_time(dead, fs::file_time_type::clock::now() - std::chrono::hours(2));

  PromptCacheOptions small = options();
  small.disk_bytes_max = 1;
  EXPECT_TRUE(PromptCache::open(small)->kept().empty());
  EXPECT_TRUE(store(*PromptCache::open(options()), "a long preamble, then one"));
  for (const std::string& path : theirs) EXPECT_TRUE(fs::exists(path)) << path;
  EXPECT_FALSE(fs::exists(dead)) << "of a process that ended long ago";
}

// Who owns it puts links where files are to be written, and states that are none where some are read.
TEST_F(PromptCacheTest, AFolderOfAnotherUserIsNotUsed) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root gives folders away";
  constexpr uid_t kNobody = 65534;
  EXPECT_TRUE(store(*PromptCache::open(options()), "a long preamble, then one"));
  ASSERT_EQ(::chown((folder_.path() + "/kv").c_str(), kNobody, kNobody), 0);
  const auto cache = PromptCache::open(options());
  EXPECT_EQ(find(*cache, "a long preamble, then two"), "");
  const size_t n_files = files().size();
  EXPECT_FALSE(store(*cache, "another long preamble"));
  EXPECT_EQ(files().size(), n_files);
  ASSERT_EQ(::chown((folder_.path() + "/kv").c_str(), 0, 0), 0);
  EXPECT_EQ(find(*PromptCache::open(options()), "a long preamble, then two"), "a long preamble, then ");
}

TEST_F(PromptCacheTest, AShortOneOrAKnownOneIsNotWritten) {
  const auto cache = PromptCache::open(options());
  EXPECT_FALSE(store(*cache, "short"));
  EXPECT_TRUE(store(*cache, "a long preamble"));
  EXPECT_FALSE(store(*cache, "a long preamble"));
  EXPECT_FALSE(store(*cache, "a long pre"));
  EXPECT_TRUE(store(*cache, "a long preamble that goes on"));
  EXPECT_EQ(cache->stats().disk_entries, 1u) << "the longer one replaces its beginning";
  EXPECT_EQ(files(), (std::vector<std::string>{".kv", ".meta"}));
}

TEST_F(PromptCacheTest, TheBoundOnDiskIsForAllModelsTogether) {
  PromptCacheOptions other = options();
  other.model_key = "model 2";
  const auto first = PromptCache::open(options()), second = PromptCache::open(other);
  for (char c = 'a'; c < 'k'; ++c) EXPECT_TRUE(store(c % 2 == 0 ? *first : *second, std::string(100, c)));
  uint64_t bytes = 0;
  for (const auto& item : fs::directory_iterator(folder_.path() + "/kv"))
    if (item.path().extension() == ".kv") bytes += item.file_size();
  EXPECT_LE(bytes, 3000u);
  EXPECT_EQ(find(*first, std::string(100, 'j')), std::string(100, 'j'));
}

TEST_F(PromptCacheTest, ALowerBoundHoldsFromTheStart) {
  for (const char* text : {"the first preamble", "another preamble"})
    ASSERT_TRUE(store(*PromptCache::open(options()), text));
  PromptCacheOptions lower = options();
  lower.disk_bytes_max = 17;
  EXPECT_EQ(PromptCache::open(lower)->stats().disk_entries, 1u);
  EXPECT_EQ(files(), (std::vector<std::string>{".kv", ".meta"}));
}

TEST_F(PromptCacheTest, MemoryKeepsWhatWasUsedLast) {
  PromptCacheOptions in_memory = options();
  in_memory.folder.clear();
  const auto cache = PromptCache::open(in_memory);
  keep(*cache, std::string(30, 'a'));  // 150 bytes with its tokens
  keep(*cache, std::string(30, 'b'));
  keep(*cache, std::string(30, 'a'));
  keep(*cache, std::string(30, 'c'));
  EXPECT_EQ(cache->stats().memory_entries, 2u);
  EXPECT_LE(cache->stats().memory_bytes, 400u);
  EXPECT_EQ(find(*cache, "aa"), "aa");
  EXPECT_EQ(find(*cache, "bb"), "");
  keep(*cache, std::string(300, 'd'));
  EXPECT_EQ(find(*cache, "dd"), "") << "larger than all of it";
}

TEST_F(PromptCacheTest, CheckpointsSurviveARestartBesideWhatTheyStandOn) {
  engine_.become(ScriptedEngine::Kind::kWindowed, 10);
  {
    const auto cache = PromptCache::open(options());
    keep(*cache, "a long preamble", StatePart::kCheckpoint);
    EXPECT_TRUE(store(*cache, "a long preamble, then one"));
  }
  const auto cache = PromptCache::open(options());
  ASSERT_EQ(cache->kept().size(), 2u);
  const auto restore = [&](StatePart part) {
    for (const PromptCache::Kept& kept : cache->kept())
      if (kept.part == part) return cache->restore(kept.id, engine_, 5).has_value();
    return false;
  };
  EXPECT_TRUE(restore(StatePart::kWhole));
  EXPECT_TRUE(restore(StatePart::kCheckpoint));
  EXPECT_EQ(engine_.context[5], "a long preamble");
}

TEST_F(PromptCacheTest, ACheckpointPushesOutNothingThatItStandsOn) {
  engine_.become(ScriptedEngine::Kind::kWindowed, 100);
  PromptCacheOptions small = options();
  small.disk_bytes_max = 130;
  const auto cache = PromptCache::open(small);
  keep(*cache, "a long preamble, then on", StatePart::kCheckpoint);
  EXPECT_TRUE(store(*cache, "a long preamble, then one"));
  EXPECT_EQ(files(), (std::vector<std::string>{".kv", ".meta"}));
  ASSERT_EQ(cache->kept().size(), 2u);
  EXPECT_EQ(cache->kept()[1].part, StatePart::kWhole);
}

TEST_F(PromptCacheTest, ADamagedCheckpointIsNeverRestored) {
  engine_.become(ScriptedEngine::Kind::kRecurrent);
  {
    const auto cache = PromptCache::open(options());
    keep(*cache, "a long preamble", StatePart::kCheckpoint);
    EXPECT_TRUE(store(*cache, "a long preamble, then one"));
  }
  damage(".kv", 3);
  const auto cache = PromptCache::open(options());
  for (const PromptCache::Kept& kept : cache->kept()) EXPECT_FALSE(cache->restore(kept.id, engine_, 5));
  EXPECT_TRUE(cache->kept().empty());
  EXPECT_TRUE(files().empty());
}

TEST_F(PromptCacheTest, WhatCannotBeCutIsKnownAtItsOwnLengthAlone) {
  engine_.become(ScriptedEngine::Kind::kHybrid);
  const auto cache = PromptCache::open(options());
  keep(*cache, "a long preamble, then one");
  keep(*cache, "a long preamble");
  EXPECT_EQ(cache->stats().memory_entries, 2u);
}

TEST_F(PromptCacheTest, ADiskThatRefusesIsNoFailure) {
  PromptCacheOptions refused = options();
  refused.folder = "/proc/self/nowhere";
  EXPECT_FALSE(store(*PromptCache::open(refused), "a long preamble"));
}

}  // namespace
}  // namespace spillway
