// SPDX-License-Identifier: MIT
#include "cli/run/run_options.h"

#include <gmock/gmock.h>

#include "base/bytes.h"
#include "cli/device_choice.h"

namespace spillway {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// The arguments, the last first, as CLI11 takes them.
RunOptions parsed(std::vector<std::string> arguments) {
  CLI::App app;
  RunOptions options;
  declare_run_options(app, options);
  std::reverse(arguments.begin(), arguments.end());
  app.parse(arguments);
  return options;
}

std::string refusal(const std::vector<std::string>& arguments) {
  try {
    parsed(arguments);
  } catch (const CLI::ParseError& e) {
    return e.what();
  }
  return "accepted";
}

TEST(RunOptions, SizesAreWrittenAsPeopleDo) {
  EXPECT_EQ(parsed({"m.gguf", "--ram", "1.5GiB"}).load.ram_bytes, 3 * GiB / 2);
  EXPECT_EQ(parsed({"m.gguf", "--weights-ram=800m"}).load.weights_bytes, 800 * MiB);
  EXPECT_EQ(parsed({"m.gguf"}).load.ram_bytes, 0u);
  EXPECT_THAT(refusal({"m.gguf", "--ram", "4x"}), HasSubstr("--ram: '4x' is not a size"));
  EXPECT_THAT(refusal({"m.gguf", "--ram", "-4G"}), HasSubstr("is not a size"));
  EXPECT_THAT(refusal({"m.gguf", "--ram", "0"}), HasSubstr("is not a size"));
}

TEST(RunOptions, SomeSizesMayBeNone) {
  const auto bytes = [](const std::string& text) {
    CLI::App app;
    uint64_t size = 1;
    add_size_or_zero_option(app, "--size", size, "")->required();
    app.parse(std::vector<std::string>{text, "--size"});
    return size;
  };
  EXPECT_EQ(bytes("0"), 0u);
  EXPECT_EQ(bytes("2G"), 2 * GiB);
  EXPECT_THROW(bytes("-1"), CLI::ParseError);
  EXPECT_THROW(bytes("none"), CLI::ParseError);
}

TEST(RunOptions, GpusHaveWhatIsFreeWhatIsNamedOrNothing) {
  EXPECT_EQ(*gpu_memory_of(parsed({"m.gguf"})), std::nullopt);
  EXPECT_EQ(*gpu_memory_of(parsed({"m.gguf", "--gpu-memory", "6G"})), 6 * GiB);
  EXPECT_EQ(*gpu_memory_of(parsed({"m.gguf", "--gpu-layers", "4"})), std::nullopt);
  for (const char* none : {"--gpu-memory", "--gpu-layers"})
    EXPECT_EQ(*gpu_memory_of(parsed({"m.gguf", none, "0"})), uint64_t{0}) << none;
}

TEST(RunOptions, ModesAreNamedOrAuto) {
  EXPECT_EQ(parsed({"m.gguf", "--mode", "stream"}).load.mode, Mode::kStream);
  EXPECT_EQ(parsed({"m.gguf", "--mode", "mmap"}).load.mode, Mode::kMmap);
  EXPECT_EQ(parsed({"m.gguf", "--mode", "auto"}).load.mode, std::nullopt);
  EXPECT_THAT(refusal({"m.gguf", "--mode", "zip"}), HasSubstr("none of auto, resident, stream, mmap"));
}

TEST(RunOptions, NumbersOutsideTheirMeaningAreRefused) {
  for (const auto& [option, value] :
       std::initializer_list<std::pair<const char*, const char*>>{{"--temp", "-1"},
                                                                  {"--temp", "nan"},
                                                                  {"--temp", "hot"},
                                                                  {"--top-p", "1.5"},
                                                                  {"--min-p", "-0.1"},
                                                                  {"--top-k", "-1"},
                                                                  {"--threads", "0"},
                                                                  {"--threads", "513"},
                                                                  {"--threads", "100000"},
                                                                  {"--context", "0"},
                                                                  {"--context", "99999999999"},
                                                                  {"--batch", "0"},
                                                                  {"--seed", "-4"},
                                                                  {"--repeat-penalty", "0"}})
    EXPECT_THAT(refusal({"m.gguf", option, value}), HasSubstr(option)) << option << " " << value;
}

TEST(RunOptions, StopMayBeRepeatedAndTakesOneTextEach) {
  EXPECT_THAT(parsed({"--stop", "a", "--stop", "b", "m.gguf"}).generation.stop, ElementsAre("a", "b"));
  EXPECT_EQ(parsed({"--stop", "a", "m.gguf"}).load.path, "m.gguf");
}

TEST(RunOptions, TheLastOfARepeatedOptionWins) {
  EXPECT_EQ(parsed({"m.gguf", "--ram", "1G", "--ram", "2G"}).load.ram_bytes, 2 * GiB);
}

TEST(RunOptions, MinusOneTokensIsAValueAndNoOption) {
  EXPECT_EQ(parsed({"m.gguf", "--max-tokens", "-1"}).generation.max_tokens, -1);
}

TEST(RunOptions, WordsBehindTheModelAreThePrompt) {
  EXPECT_EQ(parsed({"m.gguf", "why", "is  it", "--temp", "0", "so?"}).prompt, "why is  it so?");
  EXPECT_EQ(parsed({"m.gguf", "--stop", "a", "why?"}).prompt, "why?");
  EXPECT_EQ(parsed({"m.gguf", "--", "--why"}).prompt, "--why");
  EXPECT_EQ(parsed({"m.gguf", ""}).prompt, "");
  EXPECT_EQ(parsed({"m.gguf"}).prompt, std::nullopt);
}

TEST(RunOptions, WhatContradictsItselfIsRefused) {
  for (const char* option : {"--prompt", "--file", "--token-ids"})
    EXPECT_THAT(refusal({"m.gguf", "a", option, "1"}), HasSubstr("excludes")) << option;
  EXPECT_THAT(refusal({"m.gguf", "--prompt", "a", "--file", "b"}), HasSubstr("excludes"));
  EXPECT_THAT(refusal({"m.gguf", "--prompt", "a", "--token-ids", "1"}), HasSubstr("excludes"));
  EXPECT_THAT(refusal({"m.gguf", "--raw", "--system", "a"}), HasSubstr("excludes"));
  EXPECT_THAT(refusal({"m.gguf", "--raw", "--chat"}), HasSubstr("excludes"));
}

TEST(RunOptions, AModelIsRequired) { EXPECT_THAT(refusal({"--prompt", "a"}), HasSubstr("MODEL is required")); }

}  // namespace
}  // namespace spillway
