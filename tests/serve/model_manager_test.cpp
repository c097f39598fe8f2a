// SPDX-License-Identifier: MIT
#include "serve/model_manager.h"

#include <gmock/gmock.h>

#include <limits>

#include "serve/fake_models.h"

namespace spillway {
namespace {

class ModelManagerTest : public testing::Test {
 protected:
  ModelManagerTest() {
    for (const char* name : {"a", "b", "c", "d"}) catalog_.add(name, {"completion"});
    options_ = scripted_manager([this](ScriptedEngine& engine, const LoadOptions& load) {
      loads_.push_back(load.path);
      newest_ = &engine;
    });
  }
  ModelManager& manager() {
    if (!manager_) manager_ = std::make_unique<ModelManager>(catalog_, options_);
    return *manager_;
  }
  Result<Lease> lease(const std::string& name, std::optional<double> keep_alive_s = {},
                      std::optional<int64_t> n_ctx = {}) {
    ModelManager::Wish wish = manager().ask(name, n_ctx, keep_alive_s);
    for (;;)
      if (auto got = wish.wait(std::chrono::seconds(10))) return std::move(*got);
  }
  std::vector<std::string> running() {
    std::vector<std::string> names;
    for (const RunningModel& model : manager().running()) names.push_back(model.entry.name.model);
    std::sort(names.begin(), names.end());
    return names;
  }
  void wait_until_running(const std::vector<std::string>& names) {
    while (running() != names) std::this_thread::yield();
  }

  FakeCatalog catalog_;
  std::vector<std::string> loads_;
  ScriptedEngine* newest_ = nullptr;
  ManagerOptions options_;
  std::unique_ptr<ModelManager> manager_;
};

TEST_F(ModelManagerTest, AModelIsLoadedOnce) {
  const auto first = lease("a"), second = lease("A:latest");
  EXPECT_EQ(first->operator->(), second->operator->());
  EXPECT_EQ(loads_.size(), 1u);
  EXPECT_EQ(second->load_s(), 0);
}

TEST_F(ModelManagerTest, KeepAliveZeroUnloadsWhenTheLastOneIsDone) {
  auto first = lease("a", 0.0), second = lease("a", 0.0);
  *first = Lease();
  EXPECT_EQ(running(), std::vector<std::string>{"a"});
  *second = Lease();
  wait_until_running({});
}

TEST_F(ModelManagerTest, TheLongestUnusedOneMakesRoom) {
  options_.models_max = 2;
  options_.keep_alive_s = std::numeric_limits<double>::infinity();
  { const auto a = lease("a"); }
  { const auto b = lease("b"); }
  { const auto a = lease("a"); }
  { const auto c = lease("c"); }
  EXPECT_EQ(running(), (std::vector<std::string>{"a", "c"}));
}

TEST_F(ModelManagerTest, AModelInUseIsNotUnloaded) {
  options_.models_max = 1;
  const auto a = lease("a");
  const auto b = lease("b");
  EXPECT_EQ(running(), (std::vector<std::string>{"a", "b"}));
  manager().unload((*a)->entry);
  EXPECT_NE((*a)->engine, nullptr);
}

TEST_F(ModelManagerTest, OutOfBudgetUnloadsWhatIsIdleAndTriesAgain) {
  int refusals = 1;
  const auto load = options_.load_engine;
  options_.load_engine = [&, load](const LoadOptions& o) -> Result<std::unique_ptr<Engine>> {
    if (o.path == "/models/b" && refusals-- > 0) return error(Code::kOutOfBudget, "too large");
    return load(o);
  };
  { const auto a = lease("a"); }
  EXPECT_TRUE(lease("b"));
  EXPECT_EQ(running(), std::vector<std::string>{"b"});
}

TEST_F(ModelManagerTest, WhatHasNoRoomBesideAModelInUseMayHaveSomeLater) {
  const auto load = options_.load_engine;
  std::atomic<bool> crowded = true;
  options_.load_engine = [&, load](const LoadOptions& o) -> Result<std::unique_ptr<Engine>> {
    if (o.path == "/models/b" && crowded) return error(Code::kOutOfBudget, "too large");
    return load(o);
  };
  auto a = lease("a");
  const auto refused = lease("b");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kBusy);
  EXPECT_THAT(refused.error().message(),
              testing::AllOf(testing::HasSubstr("too large"), testing::HasSubstr("a:latest")));
  *a = Lease();
  EXPECT_EQ(lease("b").error().code(), Code::kOutOfBudget);  // nor has it any alone
  crowded = false;
  EXPECT_TRUE(lease("b"));
}

TEST_F(ModelManagerTest, AContextThatHasNoRoomIsTheFaultOfWhoAskedForIt) {
  options_.load_engine = [](const LoadOptions&) -> Result<std::unique_ptr<Engine>> {
    return error(Code::kOutOfBudget, "at least 3 GiB is needed");
  };
  const auto asked = lease("a", {}, 3000), not_asked = lease("a", {}, 500);  // 1000 is what everybody gets
  EXPECT_EQ(asked.error().code(), Code::kInvalidArgument);
  EXPECT_EQ(asked.error().message(), "at least 3 GiB is needed; ask for a smaller num_ctx");
  EXPECT_EQ(not_asked.error().code(), Code::kOutOfBudget);
}

TEST_F(ModelManagerTest, AFailureToLoadIsTheWishesOutcome) {
  options_.load_engine = [](const LoadOptions&) -> Result<std::unique_ptr<Engine>> {
    return error(Code::kUnsupported, "architecture 'x' is not known");
  };
  EXPECT_EQ(lease("a").error().code(), Code::kUnsupported);
  EXPECT_EQ(lease("nobody").error().code(), Code::kNotFound);
  EXPECT_EQ(lease("../x").error().code(), Code::kInvalidArgument);
}

TEST_F(ModelManagerTest, AnEngineThatLostItsWorkerIsLoadedAnew) {
  { const auto first = lease("a"); }
  newest_->lost = true;
  const auto second = lease("a");
  ASSERT_TRUE(second);
  EXPECT_TRUE((*second)->engine->check_usable());
  EXPECT_EQ(loads_.size(), 2u);
  wait_until_running({"a"});
}

TEST_F(ModelManagerTest, ContextIsBoundedByWhatTheModelWasTrainedFor) {
  ModelManager::Wish wish = manager().ask("a", 1 << 20, {});
  const auto got = *wish.wait(std::chrono::seconds(10));
  EXPECT_EQ((*got)->scheduler->n_ctx(), 4096u);
}

TEST_F(ModelManagerTest, ADrainWaitsForLeasesAndTakesNoMore) {
  auto a = lease("a");
  EXPECT_FALSE(manager().drain(std::chrono::milliseconds(1)));
  EXPECT_EQ(lease("a").error().code(), Code::kBusy);
  *a = Lease();
  EXPECT_TRUE(manager().drain(std::chrono::seconds(10)));
}

}  // namespace
}  // namespace spillway
