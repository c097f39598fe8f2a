// SPDX-License-Identifier: MIT
#include "serve/model_manager.h"

#include <gmock/gmock.h>
#include <sys/resource.h>

#include <atomic>
#include <latch>
#include <limits>
#include <mutex>
#include <new>
#include <semaphore>
#include <stdexcept>
#include <thread>

#include "chat/confined_jinja.h"
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
    ModelManager::Request request = manager().ask(name, n_ctx, keep_alive_s);
    for (;;)
      if (auto got = request.wait(std::chrono::seconds(10))) return std::move(*got);
  }
  std::vector<std::string> running() {
    std::vector<std::string> names;
    for (const RunningModel& model : manager().running()) names.push_back(model.entry.name.model);
    std::sort(names.begin(), names.end());
    return names;
  }
  static std::vector<std::string> names_of(const RunningModel& model) {
    std::vector<std::string> names;
    for (const ServedName& name : model.names) names.push_back(name.entry.name.model);
    return names;
  }
  // `name` becomes another model of the weights of `of`.
  void share_weights(const std::string& name, const std::string& of) {
    FakeCatalog::Model& model = catalog_.models[name + ":latest"];
    model.entry.weights = catalog_.models[of + ":latest"].entry.weights;
    model.entry.path = catalog_.models[of + ":latest"].entry.path;
    model.extras.system = "you are " + name;
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
  EXPECT_TRUE(manager().unload((*a)->entry.name));
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

// What cannot be had is no reason to unload anybody.
TEST_F(ModelManagerTest, WhatHasNoRoomInAnEmptyServerUnloadsNobody) {
  options_.models_max = 1;
  std::vector<uint64_t> held;
  options_.check_room = [&](const LoadOptions& load, uint64_t held_bytes) -> Result<void> {
    held.push_back(held_bytes);
    if (load.n_ctx <= 2000) return {};
    return error(Code::kOutOfBudget, "at least 3 TiB is needed");
  };
  { const auto a = lease("a"); }
  EXPECT_TRUE(held.empty()) << "nobody is loaded whom it would unload";
  const auto refused = lease("b", {}, 4000);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kInvalidArgument);
  EXPECT_EQ(refused.error().message(), "at least 3 TiB is needed; ask for a smaller num_ctx");
  EXPECT_EQ(running(), std::vector<std::string>{"a"});
  EXPECT_EQ(loads_, std::vector<std::string>{"/models/a"});
  EXPECT_EQ(held, std::vector<uint64_t>{0}) << "what is idle could go";
  EXPECT_TRUE(lease("b"));
  EXPECT_EQ(running(), std::vector<std::string>{"b"});
}

TEST_F(ModelManagerTest, AFileThatCannotBeReadUnloadsNobody) {
  options_.models_max = 1;
  options_.check_room = [](const LoadOptions&, uint64_t) -> Result<void> { return error(Code::kCorrupt, "damaged"); };
  { const auto a = lease("a"); }
  EXPECT_EQ(lease("b").error().code(), Code::kCorrupt);
  EXPECT_EQ(running(), std::vector<std::string>{"a"});
}

TEST_F(ModelManagerTest, ALoadThatRunsOutOfMemoryEndsAlone) {
  const auto load = options_.load_engine;
  std::atomic<int> failures = 2;
  options_.load_engine = [&, load](const LoadOptions& o) -> Result<std::unique_ptr<Engine>> {
    const int left = failures--;
    if (left == 2) throw std::bad_alloc();
    if (left == 1) throw std::runtime_error("a library's words");
    return load(o);
  };
  EXPECT_EQ(lease("a").error().code(), Code::kOutOfBudget);
  EXPECT_EQ(lease("a").error().code(), Code::kInternal);
  EXPECT_TRUE(manager().running().empty());
  EXPECT_FALSE(manager().load_queue().loading) << "nobody waits for it any more";
  EXPECT_TRUE(lease("a"));
}

TEST_F(ModelManagerTest, AFailureToLoadIsTheRequestsOutcome) {
  options_.load_engine = [](const LoadOptions&) -> Result<std::unique_ptr<Engine>> {
    return error(Code::kUnsupported, "architecture 'x' is not known");
  };
  EXPECT_EQ(lease("a").error().code(), Code::kUnsupported);
  EXPECT_EQ(lease("nobody").error().code(), Code::kNotFound);
  EXPECT_EQ(lease("../x").error().code(), Code::kInvalidArgument);
}

TEST_F(ModelManagerTest, AModelThatIsMadeAnewWhileItLoadsIsWhatItIsNow) {
  const auto load = options_.load_engine;
  std::string makes;
  options_.load_engine = [&, load](const LoadOptions& o) -> Result<std::unique_ptr<Engine>> {
    FakeCatalog::Model& a = catalog_.models["a:latest"];
    const bool is_gone = o.path != a.entry.path || makes == "it again";
    if (makes == "another") a.entry.path = a.entry.weights = "/models/a2";
    if (makes == "none") catalog_.models.erase("a:latest");
    if (makes == "another" || makes == "none" || is_gone) {
      if (makes != "it again") makes.clear();
      return error(is_gone ? Code::kChanged : Code::kUnsupported, "gguf_init_from_file: failed to open");
    }
    return load(o);
  };
  makes = "another";
  const auto made_anew = lease("a");
  ASSERT_TRUE(made_anew) << made_anew.error().message();
  EXPECT_EQ((*made_anew)->entry.path, "/models/a2");

  catalog_.models["a:latest"].entry.path = catalog_.models["a:latest"].entry.weights = "/models/a3";
  makes = "it again";
  EXPECT_EQ(lease("a").error().code(), Code::kChanged) << "it is looked up again once";
  makes = "none";
  EXPECT_EQ(lease("a").error().code(), Code::kNotFound);
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

TEST_F(ModelManagerTest, AnEngineWhoseFileIsAnotherOneByNowIsLoadedAnew) {
  auto first = lease("a");
  newest_->moved = true;
  const auto second = lease("a");
  ASSERT_TRUE(second);
  EXPECT_TRUE((*second)->engine->check_in_place());
  EXPECT_EQ(loads_.size(), 2u);
  EXPECT_EQ((*first)->engine->check_in_place().error().code(), Code::kChanged) << "who has it goes on with it";
  *first = Lease();
  wait_until_running({"a"});
  EXPECT_EQ(lease("a")->operator->(), second->operator->());
}

TEST_F(ModelManagerTest, ModelsOfTheSameWeightsAreOneLoad) {
  share_weights("b", "a");
  options_.models_max = 1;
  const auto a = lease("a"), b = lease("b"), c = lease("b");
  EXPECT_EQ(loads_, std::vector<std::string>{"/models/a"});
  EXPECT_EQ((*a)->engine, (*b)->engine);
  EXPECT_EQ((*a)->extras.system, "");
  EXPECT_EQ((*b)->extras.system, "you are b");
  EXPECT_EQ(b->operator->(), c->operator->());
  ASSERT_EQ(manager().running().size(), 1u);
  EXPECT_EQ(names_of(manager().running().front()), (std::vector<std::string>{"a", "b"}));
}

TEST_F(ModelManagerTest, WeightsStayForTheNameThatIsStillServed) {
  share_weights("b", "a");
  { const auto a = lease("a"), b = lease("b"); }
  EXPECT_TRUE(manager().unload(*parse_model_name("a")));
  wait_until_running({"b"});
  EXPECT_EQ(loads_.size(), 1u);
  EXPECT_TRUE(manager().unload(*parse_model_name("B:latest")));
  wait_until_running({});
  EXPECT_FALSE(manager().unload(*parse_model_name("b")));
}

// One has a context of its own, on the weights that are there.
TEST_F(ModelManagerTest, AModelOfTheSameWeightsThatWantsALargerContextReadsNothingAgain) {
  share_weights("b", "a");
  catalog_.models["b:latest"].extras.parameters["num_ctx"] = 3000;
  { const auto a = lease("a"); }
  EXPECT_EQ((*lease("b"))->scheduler->n_ctx(), 3000u);
  EXPECT_EQ((*lease("a"))->scheduler->n_ctx(), 3000u) << "nobody's context is taken away";
  EXPECT_EQ(loads_.size(), 1u);
}

// What one request asks for is neither everybody's bound nor everybody's memory for good.
TEST_F(ModelManagerTest, AContextThatOneRequestMadeLargerIsItsOwn) {
  options_.n_ctx = 1000;
  options_.wide_context_kept_s = 0;
  {
    const auto wide = lease("a", {}, 3000), narrow = lease("a");
    EXPECT_EQ((*wide)->context_for(3000), 3000u);
    EXPECT_EQ((*narrow)->scheduler->n_ctx(), 3000u);
    EXPECT_EQ((*narrow)->context_for(std::nullopt), 1000u);
    EXPECT_EQ((*narrow)->context_for(64), 64u);
  }
  while (manager().running().front().n_ctx != 1000) std::this_thread::yield();
  EXPECT_EQ((*lease("a"))->context_for(std::nullopt), 1000u);
  EXPECT_EQ((*lease("a", {}, 2000))->context_for(2000), 2000u);
  EXPECT_EQ(loads_.size(), 1u);
}

// Nobody named a number: the load chooses.
TEST_F(ModelManagerTest, AContextThatWasChosenIsTheDefaultWhateverTheFirstRequestAskedFor) {
  options_.n_ctx = 0;
  options_.wide_context_kept_s = 0;
  {
    const auto wide = lease("a", {}, 3000), silent = lease("a"), small = lease("a", {}, 64);
    EXPECT_EQ((*wide)->scheduler->n_ctx(), 3000u);
    EXPECT_EQ((*wide)->context_for(3000), 3000u);
    EXPECT_EQ((*silent)->context_for(std::nullopt), kScriptedContext);
    EXPECT_EQ((*small)->context_for(64), 64u);
  }
  while (manager().running().front().n_ctx != kScriptedContext) std::this_thread::yield();
  EXPECT_EQ((*lease("a"))->context_for(std::nullopt), kScriptedContext);
  EXPECT_EQ(loads_.size(), 1u);
  EXPECT_EQ((*lease("b", {}, 64))->scheduler->n_ctx(), kScriptedContext) << "who asks for little takes from nobody";
}

TEST_F(ModelManagerTest, AModelsOwnContextCountsMoreThanWhatIsChosen) {
  options_.n_ctx = 0;
  catalog_.models["a:latest"].extras.parameters["num_ctx"] = 700;
  EXPECT_EQ((*lease("a"))->context_for(std::nullopt), 700u);
  EXPECT_EQ((*lease("a"))->scheduler->n_ctx(), 700u);
}

// Numbers that no context has: bounded by what the model was trained for.
TEST_F(ModelManagerTest, NoNumberIsTooLargeToBeAskedFor) {
  for (const int64_t n_ctx : {int64_t{1} << 24, int64_t{1} << 32, int64_t{5'000'000'000}, INT64_MAX, INT64_MIN}) {
    const auto got = lease("a", {}, n_ctx);
    ASSERT_TRUE(got) << got.error().message();
    EXPECT_LE((*got)->scheduler->n_ctx(), 4096u) << n_ctx;
    EXPECT_GE((*got)->scheduler->n_ctx(), 1000u) << n_ctx;
  }
}

TEST_F(ModelManagerTest, AContextThatAModelBringsStaysAsLongAsTheModel) {
  options_.n_ctx = 1000;
  options_.wide_context_kept_s = 0;
  share_weights("b", "a");
  catalog_.models["b:latest"].extras.parameters["num_ctx"] = 2000;
  { const auto a = lease("a"), b = lease("b"), wide = lease("a", {}, 3000); }
  while (manager().running().front().n_ctx != 2000) std::this_thread::yield();
  EXPECT_EQ((*lease("b"))->context_for(std::nullopt), 2000u);
  EXPECT_EQ((*lease("a"))->context_for(std::nullopt), 1000u);
}

TEST_F(ModelManagerTest, AModelThatIsMadeAnewIsServedInItsNewForm) {
  auto old = lease("a");
  catalog_.models["a:latest"].entry.digest = std::string(64, 'e');
  catalog_.models["a:latest"].extras.system = "new";
  {
    const auto now = lease("a");
    EXPECT_EQ((*now)->extras.system, "new");
  }
  EXPECT_EQ((*old)->extras.system, "");
  EXPECT_EQ(loads_.size(), 1u);
  EXPECT_EQ(names_of(manager().running().front()), std::vector<std::string>{"a"});

  catalog_.models["a:latest"].entry.weights = catalog_.models["a:latest"].entry.path = "/models/other";
  options_.models_max = 8;
  {
    const auto now = lease("a");
    EXPECT_EQ((*now)->info.n_ctx, 1000u);
  }
  EXPECT_EQ(loads_, (std::vector<std::string>{"/models/a", "/models/other"}));
  EXPECT_EQ(running(), std::vector<std::string>{"a"}) << "the old one is nobody's any more";
  manager().unload((*old)->entry.name);
  *old = Lease();
  wait_until_running({});
}

// What a template does takes up to 10 s to find out, in a process: each of the requests made one.
TEST_F(ModelManagerTest, AFormIsMadeOnceForAllWhoAskMeanwhile) {
  constexpr int kAskers = 8;
  share_weights("b", "a");
  catalog_.models["b:latest"].extras.template_text = "{% if %}";  // that is told, once it was looked at
  std::atomic<int> n_made = 0;
  std::latch all_ask(kAskers);
  options_.log = [&](const std::string& sentence) {
    if (sentence.find("b:latest chats") == std::string::npos) return;
    ++n_made;
    all_ask.wait();
  };
  const auto a = lease("a");
  std::vector<std::thread> askers;
  std::vector<std::optional<Result<Lease>>> leases(kAskers);
  for (auto& of_asker : leases)
    askers.emplace_back([&] {
      all_ask.count_down();
      of_asker = lease("b");
    });
  for (std::thread& asker : askers) asker.join();
  EXPECT_EQ(n_made, 1);
  for (const auto& of_asker : leases) {
    ASSERT_TRUE(*of_asker) << of_asker->error().message();
    EXPECT_EQ((*of_asker)->operator->(), (*leases.front())->operator->());
  }
}

TEST_F(ModelManagerTest, WhoLeavesWaitsForNoFormThatAnotherMakes) {
  share_weights("b", "a");
  catalog_.models["b:latest"].extras.template_text = "{% if %}";
  std::binary_semaphore is_made{0}, go{0};
  options_.log = [&](const std::string& sentence) {
    if (sentence.find("b:latest chats") == std::string::npos) return;
    is_made.release();
    go.acquire();
  };
  const auto a = lease("a");
  std::optional<Result<Lease>> first;
  std::thread maker([&] { first = lease("b"); });
  is_made.acquire();
  auto gone = manager().ask("b", {}, {}, {.is_waiting = [] { return false; }}).wait(std::chrono::seconds(10));
  ASSERT_TRUE(gone);
  ASSERT_FALSE(*gone);
  EXPECT_EQ(gone->error().code(), Code::kCancelled);
  go.release();
  maker.join();
  EXPECT_TRUE(*first);
}

// Its own thread loads for everybody.
TEST_F(ModelManagerTest, TheManagerWaitsForNoFormThatARequestMakes) {
  share_weights("b", "a");
  for (const char* name : {"a:latest", "b:latest"}) catalog_.models[name].extras.template_text = "{% if %}";
  std::binary_semaphore is_loading{0}, go_load{0}, made_a{0}, go_a{0}, made_b{0}, go_b{0};
  const auto load = options_.load_engine;
  options_.load_engine = [&, load](const LoadOptions& o) {
    if (o.path == "/models/a") {
      is_loading.release();
      go_load.acquire();
    }
    return load(o);
  };
  options_.log = [&](const std::string& sentence) {
    if (sentence.find("a:latest chats") != std::string::npos) {
      made_a.release();
      go_a.acquire();
    }
    if (sentence.find("b:latest chats") != std::string::npos) {
      made_b.release();
      go_b.acquire();
    }
  };
  auto first = manager().ask("a", {}, {});
  is_loading.acquire();
  auto queued = manager().ask("b", {}, {});
  go_load.release();
  made_a.acquire();
  std::optional<Result<Lease>> of_maker;
  std::thread maker([&] { of_maker = lease("b"); });
  made_b.acquire();
  go_a.release();
  auto other = manager().ask("c", {}, {}).wait(std::chrono::seconds(10));
  go_b.release();
  maker.join();
  EXPECT_TRUE(other && *other) << "it was loaded meanwhile";
  EXPECT_TRUE(*of_maker);
  EXPECT_TRUE(*first.wait(std::chrono::seconds(10)));
  EXPECT_TRUE(*queued.wait(std::chrono::seconds(10)));
}

// Each has a process that computes.
TEST_F(ModelManagerTest, FormsOfManyNamesAreMadeAFewAtATime) {
  constexpr int kNames = 12;
  std::mutex mutex;
  int n_now = 0, n_most = 0;
  std::counting_semaphore<kNames> is_made{0}, go{0};
  options_.log = [&](const std::string& sentence) {
    if (sentence.find(" chats ") == std::string::npos || !sentence.starts_with("the template")) return;
    {
      const std::lock_guard lock(mutex);
      n_most = std::max(n_most, ++n_now);
    }
    is_made.release();
    go.acquire();
    const std::lock_guard lock(mutex);
    --n_now;
  };
  const auto a = lease("a");
  std::vector<std::thread> askers;
  std::atomic<int> n_leases = 0;
  for (int i = 0; i < kNames; ++i) {
    const std::string name = "copy" + std::to_string(i);
    catalog_.add(name, {"completion"}, "{% if %}");
    share_weights(name, "a");
  }
  for (int i = 0; i < kNames; ++i)
    askers.emplace_back([&, i] { n_leases += lease("copy" + std::to_string(i)) ? 1 : 0; });
  for (int i = 0; i < 4; ++i) is_made.acquire();
  for (int i = 0; i < kNames; ++i) go.release();
  for (std::thread& asker : askers) asker.join();
  EXPECT_EQ(n_leases, kNames);
  EXPECT_EQ(n_most, 4);
}

TEST_F(ModelManagerTest, ATemplateThatGetsNoProcessNowIsUsedLater) {
  share_weights("b", "a");
  catalog_.models["b:latest"].extras.template_text = "{% for m in messages %}({{ m.content }}){% endfor %}";
  const auto a = lease("a");
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none{3, before.rlim_max};
  confine_templates_to("/a/program");
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const auto refused = lease("b");
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  confine_templates_to("");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kBusy);
  EXPECT_THAT(refused.error().message(), testing::HasSubstr("no process for a chat template"));
  const auto b = lease("b");
  ASSERT_TRUE(b) << b.error().message();
  EXPECT_EQ((*b)->form->why, "by the template of its Modelfile");
  EXPECT_EQ(loads_.size(), 1u);
}

TEST_F(ModelManagerTest, WhoWaitsSeesWhatIsLoaded) {
  catalog_.models["a:latest"].entry.size_bytes = 1ULL << 50;
  std::binary_semaphore asked{0}, go{0};
  const auto load = options_.load_engine;
  options_.load_engine = [&, load](const LoadOptions& o) {
    o.progress(0.25);
    asked.release();
    go.acquire();
    return load(o);
  };
  auto first = manager().ask("a", {}, {}), second = manager().ask("b", {}, {});
  asked.acquire();
  const LoadQueue queue = manager().load_queue();
  ASSERT_TRUE(queue.loading);
  EXPECT_EQ(queue.loading->entry.name.model, "a");
  EXPECT_EQ(queue.loading->fraction, 0.25);
  EXPECT_EQ(queue.loading->entry.size_bytes, 1ULL << 50);
  EXPECT_LT(queue.loading->bytes, 1ULL << 50) << "no more is read while loading than memory holds";
  EXPECT_EQ(queue.waiting, 1u);
  EXPECT_FALSE(manager().drain(std::chrono::milliseconds(1)));
  go.release();
  asked.acquire();
  go.release();
  EXPECT_TRUE(*first.wait(std::chrono::seconds(10)));
  EXPECT_TRUE(*second.wait(std::chrono::seconds(10)));
  EXPECT_FALSE(manager().load_queue().loading);
}

TEST_F(ModelManagerTest, NothingIsLoadedForWhoWentAway) {
  options_.queue_max = 1;
  std::binary_semaphore asked{0}, go{0};
  const auto load = options_.load_engine;
  options_.load_engine = [&, load](const LoadOptions& o) {
    asked.release();
    go.acquire();
    return load(o);
  };
  auto first = manager().ask("a", {}, {});
  asked.acquire();
  { const auto gone = manager().ask("b", {}, {}); }
  auto third = manager().ask("c", {}, {});  // the queue has room for it
  go.release();
  asked.acquire();
  go.release();
  EXPECT_TRUE(*first.wait(std::chrono::seconds(10)));
  EXPECT_TRUE(*third.wait(std::chrono::seconds(10)));
  EXPECT_EQ(loads_, (std::vector<std::string>{"/models/a", "/models/c"}));
}

// They are as many as somebody makes copies.
TEST_F(ModelManagerTest, OfManyNamesOfOneModelThoseThatWereUsedLastStay) {
  options_.keep_alive_s = std::numeric_limits<double>::infinity();
  { const auto a = lease("a"); }
  const auto used = lease("a");
  for (int i = 0; i < 40; ++i) {
    const std::string name = "copy" + std::to_string(i);
    catalog_.add(name, {"completion"});
    share_weights(name, "a");
    EXPECT_TRUE(lease(name));
  }
  EXPECT_EQ(loads_.size(), 1u);
  ASSERT_EQ(manager().running().size(), 1u);
  const std::vector<std::string> names = names_of(manager().running()[0]);
  EXPECT_EQ(names.size(), 16u);
  EXPECT_EQ(std::count(names.begin(), names.end(), "a"), 1) << "it is in use";
  EXPECT_EQ(std::count(names.begin(), names.end(), "copy39"), 1);
  EXPECT_EQ(std::count(names.begin(), names.end(), "copy0"), 0);
}

TEST_F(ModelManagerTest, ClientsTakeTurnsWhereModelsHaveToBeLoaded) {
  std::binary_semaphore asked{0};
  std::counting_semaphore<8> go{0};
  const auto load = options_.load_engine;
  options_.load_engine = [&, load](const LoadOptions& o) {
    if (o.path == "/models/a") asked.release();
    go.acquire();
    return load(o);
  };
  auto first = manager().ask("a", {}, {}, {.client = "greedy"});
  asked.acquire();
  auto second = manager().ask("b", {}, {}, {.client = "greedy"}),
       third = manager().ask("c", {}, {}, {.client = "greedy"});
  auto other = manager().ask("d", {}, {}, {.client = "modest"});
  go.release(8);
  for (auto* request : {&first, &second, &third, &other}) EXPECT_TRUE(*request->wait(std::chrono::seconds(10)));
  EXPECT_EQ(loads_, (std::vector<std::string>{"/models/a", "/models/b", "/models/d", "/models/c"}));
}

TEST_F(ModelManagerTest, ContextIsBoundedByWhatTheModelWasTrainedFor) {
  ModelManager::Request request = manager().ask("a", 1 << 20, {});
  const auto got = *request.wait(std::chrono::seconds(10));
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
