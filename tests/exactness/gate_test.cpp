// SPDX-License-Identifier: MIT
// That the promises of streaming can be broken, and that the checks see it: exactness through a corrupted page,
// residency through a gate that does not wait.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>

#include "engine/engine.h"
#include "engine/test_switches.h"
#include "engine/verify.h"

namespace spillway {
namespace {

using testing::HasSubstr;

std::string model_path(const std::string& name) { return std::string(SPILLWAY_TEST_MODELS) + "/" + name; }

// What is not in the page cache has to be read: only then does a touch of an absent page show as a major fault.
void drop_page_cache(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY);
  ASSERT_GE(fd, 0);
  ::fsync(fd);
  ASSERT_EQ(::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
  ::close(fd);
}

VerifyOptions verify_options(const std::string& name) {
  VerifyOptions options;
  options.path = model_path(name);
  options.weights_bytes = std::filesystem::file_size(options.path) * 6 / 10;
  options.extent_bytes_min = kPageBytes;
  return options;
}

EngineLoader with(TestSwitches test) {
  return [test](const LoadOptions& options) { return load_for_test(options, test); };
}

// Decodes pseudo-random tokens one at a time, from a cold page cache. The counters of those after the warm-up; without
// the gate there is nothing to warm up, and a page once mapped never faults again, so all count.
Result<EngineStats> decode_tokens(const std::string& name, TestSwitches test) {
  LoadOptions options;
  options.path = model_path(name);
  options.mode = Mode::kStream;
  options.weights_bytes = std::filesystem::file_size(options.path) * 6 / 10;
  options.extent_bytes_min = kPageBytes;
  options.n_ctx = 256;
  options.measure_compute = false;
  options.keep_heat = false;
  drop_page_cache(options.path);
  ASSIGN_OR_RETURN(const auto engine, load_for_test(options, test));
  std::mt19937 random(3);
  for (int32_t pos = 0; pos < 40; ++pos) {
    if (pos == (test.skip_gate ? 0 : 8)) engine->reset_stats();
    const BatchToken token{static_cast<TokenId>(random() % static_cast<unsigned>(engine->model().n_vocab)), pos, 0,
                           true};
    RETURN_IF_ERROR(engine->decode({&token, 1}));
  }
  return engine->stats();
}

class Gate : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(MoeAndDense, Gate, testing::Values("gate-moe.gguf", "gate-dense.gguf"));

TEST_P(Gate, StreamedRunIsExact) {
  const auto report = verify(verify_options(GetParam()));
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_TRUE(report->exact) << report->first_difference;
  EXPECT_GT(report->bytes_streamed, 0u);
  EXPECT_EQ(report->ungated, 0u);
}

// Passes that use whole expert tensors, in several graphs each, and decoding behind them.
TEST_P(Gate, LongPromptsAreExact) {
  for (const uint64_t percent : {20, 60}) {
    VerifyOptions options = verify_options(GetParam());
    options.weights_bytes = std::filesystem::file_size(options.path) * percent / 100;
    options.n_prompt = 320;
    options.n_ubatch = 128;
    const auto report = verify(options);
    ASSERT_TRUE(report) << report.error().message();
    EXPECT_TRUE(report->exact) << report->first_difference << " at " << percent;
    EXPECT_GT(report->bytes_streamed, 0u);
    EXPECT_EQ(report->ungated, 0u);
  }
}

TEST_P(Gate, OneCorruptedPageIsFoundAtItsLayer) {
  const auto report = verify(verify_options(GetParam()), with({.corrupt_extent = true}));
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_FALSE(report->exact);
  EXPECT_THAT(report->first_difference, HasSubstr("layer "));
}

TEST_P(Gate, DecodingTouchesNoAbsentPage) {
  const auto stats = decode_tokens(GetParam(), {});
  ASSERT_TRUE(stats) << stats.error().message();
  EXPECT_GT(stats->bytes_read, 0u);
  EXPECT_EQ(stats->major_faults, 0u);
}

TEST_P(Gate, OnlyExpertsAreHitOrMissed) {
  const auto stats = decode_tokens(GetParam(), {});
  ASSERT_TRUE(stats) << stats.error().message();
  EXPECT_GT(stats->bytes_read, 0u);
  EXPECT_EQ(stats->hits + stats->misses > 0, GetParam() == std::string("gate-moe.gguf"));
}

TEST_P(Gate, WithoutWaitingTheResultIsExactAndFaultsShow) {
  const auto report = verify(verify_options(GetParam()), with({.skip_gate = true}));
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_TRUE(report->exact) << report->first_difference;

  const auto stats = decode_tokens(GetParam(), {.skip_gate = true});
  ASSERT_TRUE(stats) << stats.error().message();
  EXPECT_EQ(stats->bytes_read, 0u);
  EXPECT_GT(stats->major_faults, 100u);
}

TEST_P(Gate, ThreadReadsAreExact) {
  VerifyOptions options = verify_options(GetParam());
  options.reader = IoQueueKind::kThreads;
  const auto report = verify(options);
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_TRUE(report->exact) << report->first_difference;
  EXPECT_GT(report->bytes_streamed, 0u);
}

TEST_P(Gate, BufferedReadsAreExact) {
  VerifyOptions options = verify_options(GetParam());
  options.direct_io = false;
  const auto report = verify(options);
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_TRUE(report->exact) << report->first_difference;
  EXPECT_GT(report->bytes_streamed, 0u);
}

TEST(Budget, BelowTheMinimumTheMessageSaysWhatIsNeeded) {
  LoadOptions options;
  options.path = model_path("gate-moe.gguf");
  options.mode = Mode::kStream;
  options.weights_bytes = 300 * KiB;
  options.extent_bytes_min = kPageBytes;
  const auto engine = Engine::load(options);
  ASSERT_FALSE(engine);
  EXPECT_EQ(engine.error().code(), Code::kOutOfBudget);
  EXPECT_THAT(engine.error().message(), HasSubstr("at least"));
}

// A prompt far larger than what the slots can serve at once is cut, not refused, and nothing goes ungated.
TEST(Prompt, ALongPromptIsCutToWhatTheSlotsServe) {
  std::vector<float> streamed, plain;
  for (const bool reference : {false, true}) {
    LoadOptions options;
    options.path = model_path("gate-moe.gguf");
    options.mode = reference ? Mode::kResident : Mode::kStream;
    options.kernels = Kernels::kPlain;
    options.weights_bytes = reference ? 0 : std::filesystem::file_size(options.path) * 2 / 10;
    options.extent_bytes_min = kPageBytes;
    options.n_ctx = 512;
    options.n_ubatch = reference ? 1 : 512;  // cut down to single tokens, which is what 20 % of the weights allow
    options.measure_compute = false;
    options.keep_heat = false;
    const auto engine = Engine::load(options);
    ASSERT_TRUE(engine) << engine.error().message();
    std::vector<BatchToken> prompt;
    for (int32_t i = 0; i < 100; ++i) prompt.push_back({(i * 37) % 1000, i, 0, i == 99});
    const auto outcome = (*engine)->decode(prompt);
    ASSERT_TRUE(outcome) << outcome.error().message();
    const auto logits = (*engine)->logits(-1);
    (reference ? plain : streamed).assign(logits.begin(), logits.end());
    EXPECT_EQ((*engine)->stats().ungated, 0u);
  }
  // Other batch shapes round otherwise, so near, not equal; verify() compares equal shapes.
  ASSERT_FALSE(plain.empty());
  ASSERT_EQ(streamed.size(), plain.size());
  for (size_t i = 0; i < plain.size(); ++i) ASSERT_NEAR(streamed[i], plain[i], 0.2) << "logit " << i;
}

}  // namespace
}  // namespace spillway
