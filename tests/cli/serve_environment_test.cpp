// SPDX-License-Identifier: MIT
#include "cli/serve_environment.h"

#include <gmock/gmock.h>

#include <limits>
#include <map>
#include <string>
#include <tuple>

namespace spillway {
namespace {

Result<ServeEnvironment> read(const std::map<std::string, std::string>& variables) {
  return read_serve_environment([&](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

TEST(ServeEnvironment, SaysNothingWhereNothingIsSet) {
  const auto none = read({{"OLLAMA_HOST", ""}, {"OLLAMA_CONTEXT_LENGTH", "0"}, {"OLLAMA_NUM_PARALLEL", " "}});
  ASSERT_TRUE(none) << none.error().message();
  EXPECT_FALSE(none->host || none->port || none->n_ctx || none->n_parallel || none->keep_alive_s || none->queue_max ||
               none->models_max);
  EXPECT_FALSE(none->kv_cache_type || none->flash_attention);
}

TEST(ServeEnvironment, AnAddressIsWrittenInManyWays) {
  using Parts = std::tuple<std::optional<std::string>, std::optional<int>>;
  const std::map<std::string, Parts> cases = {
      {"0.0.0.0", {"0.0.0.0", std::nullopt}},
      {"0.0.0.0:8080", {"0.0.0.0", 8080}},
      {":8080", {std::nullopt, 8080}},
      {"http://example.org:8080/", {"example.org", 8080}},
      {"http://example.org", {"example.org", 80}},
      {"[::1]:8080", {"::1", 8080}},
      {"[::]", {"::", std::nullopt}},
      {"::1", {"::1", std::nullopt}},
      {" \"127.0.0.1:0\" ", {"127.0.0.1", 0}},
  };
  for (const auto& [text, parts] : cases) {
    const auto found = read({{"OLLAMA_HOST", text}});
    ASSERT_TRUE(found) << text << ": " << found.error().message();
    EXPECT_EQ(std::tie(found->host, found->port), parts) << text;
  }
}

TEST(ServeEnvironment, ATimeToStayLoadedMayBeBareSeconds) {
  EXPECT_EQ(read({{"OLLAMA_KEEP_ALIVE", "300"}})->keep_alive_s, 300.0);
  EXPECT_EQ(read({{"OLLAMA_KEEP_ALIVE", "1h30m"}})->keep_alive_s, 5400.0);
  EXPECT_EQ(read({{"OLLAMA_KEEP_ALIVE", "0"}})->keep_alive_s, 0.0);
  for (const char* forever : {"-1", "-1m"})
    EXPECT_EQ(read({{"OLLAMA_KEEP_ALIVE", forever}})->keep_alive_s, std::numeric_limits<double>::infinity()) << forever;
}

TEST(ServeEnvironment, TheOptionForThatTimeTakesWhatTheVariableTakes) {
  EXPECT_EQ(*parse_keep_alive_s("5"), 5.0);
  EXPECT_EQ(*parse_keep_alive_s("1.5"), 1.5);
  EXPECT_EQ(*parse_keep_alive_s("5m"), 300.0);
  EXPECT_EQ(*parse_keep_alive_s("-1"), std::numeric_limits<double>::infinity());
  EXPECT_EQ(*parse_keep_alive_s("-1s"), std::numeric_limits<double>::infinity());
  for (const char* none : {"", "-", "soon", "5 m", "1-2"}) {
    const auto refused = parse_keep_alive_s(none);
    ASSERT_FALSE(refused) << none;
    EXPECT_THAT(refused.error().message(), testing::HasSubstr("300 (seconds), -1 (for ever)"));
  }
}

TEST(ServeEnvironment, NumbersAreTaken) {
  const auto all = read({{"OLLAMA_CONTEXT_LENGTH", "32768"},
                         {"OLLAMA_NUM_PARALLEL", "4"},
                         {"OLLAMA_MAX_QUEUE", "10"},
                         {"OLLAMA_MAX_LOADED_MODELS", "1"},
                         {"OLLAMA_KV_CACHE_TYPE", "q8_0"}});
  ASSERT_TRUE(all);
  EXPECT_EQ(all->n_ctx, 32768u);
  EXPECT_EQ(all->n_parallel, 4u);
  EXPECT_EQ(all->queue_max, 10u);
  EXPECT_EQ(all->models_max, 1u);
  EXPECT_EQ(all->kv_cache_type, "q8_0");
}

TEST(ServeEnvironment, OriginsAreAListAndBlanksAndQuotesAreNotMeant) {
  const auto said = read({{"OLLAMA_ORIGINS", "\"https://a.example, chrome-extension://*\",, *"}});
  ASSERT_TRUE(said);
  EXPECT_THAT(said->origins, testing::ElementsAre("https://a.example", "chrome-extension://*", "*"));
  EXPECT_THAT(read({})->origins, testing::IsEmpty());
}

TEST(ServeEnvironment, ALevelAboveNothingAsksForMoreInTheLog) {
  for (const char* yes : {"1", "2", "true", "yes"}) EXPECT_TRUE(read({{"OLLAMA_DEBUG", yes}})->debug) << yes;
  for (const char* no : {"", "0", "false", " False "}) EXPECT_FALSE(read({{"OLLAMA_DEBUG", no}})->debug) << no;
}

std::vector<std::string> unapplied(std::vector<const char*> variables) {
  variables.push_back(nullptr);
  return unapplied_variables(variables.data());
}

TEST(ServeEnvironment, WhatIsNotAppliedIsNamedWithWhatIsDoneInstead) {
  EXPECT_THAT(unapplied({"OLLAMA_LOAD_TIMEOUT=10m", "PATH=/bin", "OLLAMA_SCHED_SPREAD=1", "OLLAMA_KEEPALIVE=5m"}),
              testing::ElementsAre("OLLAMA_KEEPALIVE is not applied: nothing here reads it",
                                   "OLLAMA_LOAD_TIMEOUT is not applied: a load may take as long as it takes",
                                   "OLLAMA_SCHED_SPREAD is not applied: the plan places layers on all GPUs that it "
                                   "may use"));
  EXPECT_THAT(unapplied({"LLAMA_ARG_FIT_TARGET=512", "OLLAMA_VULKAN=0"}), testing::SizeIs(2));
}

TEST(ServeEnvironment, WhatAsksForNothingElseIsNotNamed) {
  EXPECT_THAT(
      unapplied({"OLLAMA_HOST=0.0.0.0", "OLLAMA_SCHED_SPREAD=false", "OLLAMA_GPU_OVERHEAD=0", "OLLAMA_NOPRUNE=1",
                 "OLLAMA_VULKAN=1", "OLLAMA_LOAD_TIMEOUT=", "OLLAMA_GO_TEMPLATE=1", "OLLAMA_DEBUG", "OLLAMA_MODELS=/m",
                 "OLLAMA_DEBUG_LOG_REQUESTS=0", "LLAMA_ARG_FIT=1", "HOME=/root"}),
      testing::IsEmpty());
}

TEST(ServeEnvironment, HowAContextKeepsItsTokensIsSaidInAnyCase) {
  EXPECT_EQ(read({{"OLLAMA_KV_CACHE_TYPE", "Q4_0"}})->kv_cache_type, "q4_0");
  for (const char* yes : {"1", "true", "TRUE", "on"})
    EXPECT_EQ(read({{"OLLAMA_FLASH_ATTENTION", yes}})->flash_attention, FlashAttention::kOn) << yes;
  for (const char* no : {"0", "False", "f"})
    EXPECT_EQ(read({{"OLLAMA_FLASH_ATTENTION", no}})->flash_attention, FlashAttention::kOff) << no;
}

TEST(ServeEnvironment, WhatIsNoValueIsNamed) {
  const std::map<std::string, std::string> cases = {
      {"OLLAMA_HOST", "0.0.0.0:many"},     {"OLLAMA_KEEP_ALIVE", "a while"},    {"OLLAMA_CONTEXT_LENGTH", "-5"},
      {"OLLAMA_NUM_PARALLEL", "10000000"}, {"OLLAMA_MAX_QUEUE", "12 requests"}, {"OLLAMA_MAX_LOADED_MODELS", "1.5"},
      {"OLLAMA_KV_CACHE_TYPE", "q8"}};
  for (const auto& [name, value] : cases) {
    const auto found = read({{name, value}});
    ASSERT_FALSE(found) << name;
    EXPECT_EQ(found.error().code(), Code::kInvalidArgument);
    EXPECT_THAT(found.error().message(), testing::StartsWith(name + "='" + value + "': "));
  }
  EXPECT_FALSE(read({{"OLLAMA_HOST", "https://example.org"}}));
  EXPECT_FALSE(read({{"OLLAMA_HOST", "[::1"}}));
}

}  // namespace
}  // namespace spillway
