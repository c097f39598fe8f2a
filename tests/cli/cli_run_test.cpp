// SPDX-License-Identifier: MIT
// `spillway run` from the outside: the built program on tiny generated models.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "os/temp_folder.h"
#include "process.h"

namespace spillway {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;
using Json = nlohmann::json;

class CliRunTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<TempFolder>();
    ::setenv("SPILLWAY_CACHE_DIR", folder_->at("cache").c_str(), 1);
    const auto made = run_process({SPILLWAY_MAKE_MODEL, "--preset", "tiny-moe", "--out", model()});
    ASSERT_EQ(made.exit_code, 0) << made.err;
  }
  static void TearDownTestSuite() { folder_.reset(); }

  static std::string model() { return folder_->at("moe.gguf"); }

  static std::string model_bytes() {
    std::ifstream file(model(), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  // One thread: tests run beside each other, and spinning threads that share a CPU take ten times as long.
  static std::vector<std::string> command(std::vector<std::string> arguments) {
    if (!arguments.empty() && arguments[0] == "run") arguments.insert(arguments.end(), {"--threads", "1"});
    arguments.insert(arguments.begin(), SPILLWAY);
    return arguments;
  }

  static ProcessOutcome spillway(const std::vector<std::string>& arguments, const std::string& input = "") {
    return run_process(command(arguments), input);
  }

  // Of a run that succeeds, its object.
  static Json json_of(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--json", "--stats"});
    const auto outcome = spillway(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_THAT(outcome.err, IsEmpty());
    return Json::parse(outcome.out, nullptr, false);
  }

  static void expect_one_line(const ProcessOutcome& outcome, int exit_code, const std::string& part) {
    EXPECT_EQ(outcome.exit_code, exit_code) << outcome.err;
    EXPECT_THAT(outcome.out, IsEmpty());
    EXPECT_THAT(outcome.err, StartsWith("spillway: "));
    EXPECT_THAT(outcome.err, HasSubstr(part));
    EXPECT_THAT(outcome.err, EndsWith("\n"));
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  }

  static std::unique_ptr<TempFolder> folder_;
};
std::unique_ptr<TempFolder> CliRunTest::folder_;

// ---- answers ----

TEST_F(CliRunTest, TextGoesToStdoutAndNothingElseDoes) {
  const auto outcome = spillway({"run", model(), "--prompt", "Hello", "--temp", "0", "--max-tokens", "8"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.err, IsEmpty());
  EXPECT_THAT(outcome.out, EndsWith("\n"));
  EXPECT_EQ(
      outcome.out,
      Json::parse(
          spillway({"run", model(), "--prompt", "Hello", "--temp", "0", "--max-tokens", "8", "--json"}).out)["text"]
              .get<std::string>() +
          "\n");
}

TEST_F(CliRunTest, StatsGoToStderrBesideTheText) {
  const auto outcome = spillway({"run", model(), "--prompt", "Hello", "--max-tokens", "8", "--stats"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.err, HasSubstr("\nmode       resident"));
  EXPECT_THAT(outcome.err, HasSubstr("\nmemory     "));
  EXPECT_THAT(outcome.out, Not(HasSubstr("resident")));
}

TEST_F(CliRunTest, JsonIsOneObjectWithEveryPromisedField) {
  const Json json = json_of({"run", model(), "--prompt", "Hello", "--temp", "0", "--max-tokens", "8"});
  for (const char* number :
       {"prompt_tokens", "prefill_tok_per_s", "decode_tok_per_s", "time_to_first_token_s", "bytes_read_per_token",
        "disk_wait_fraction", "serial_limit_tok_per_s", "overlap_limit_tok_per_s", "roofline_fraction",
        "major_faults_per_token", "peak_rss_bytes", "budget_bytes", "pinned_bytes", "pool_bytes", "ring_pool_bytes",
        "rows_bytes", "other_bytes", "ungated"})
    EXPECT_TRUE(json.contains(number) && json[number].is_number()) << number;
  for (const char* nullable : {"hit_rate", "disk_bytes_per_s", "predicted_tok_per_s", "cpu_s_per_gb_streamed"})
    EXPECT_TRUE(json.contains(nullable)) << nullable;
  EXPECT_EQ(json["mode"], "resident");
  EXPECT_FALSE(json["why"].get<std::string>().empty());
  EXPECT_FALSE(json["text"].get<std::string>().empty());
  EXPECT_EQ(json["tokens"].size(), 8u);
  EXPECT_EQ(json["logits_hash"].get<std::string>().size(), 16u);
}

TEST_F(CliRunTest, AStreamedRunSaysTheSameAsAResidentOne) {
  const std::vector<std::string> prompt = {"run",    model(), "--token-ids",  "1,2,3,4",
                                           "--temp", "0",     "--max-tokens", "12"};
  std::vector<std::string> resident = prompt, streamed = prompt;
  resident.insert(resident.end(), {"--mode", "resident", "--kernels", "plain"});
  streamed.insert(streamed.end(), {"--mode", "stream", "--weights-ram", "3M", "--extent-min", "4K", "--no-heat"});
  const Json a = json_of(resident), b = json_of(streamed);
  EXPECT_EQ(b["mode"], "stream");
  EXPECT_GT(b["bytes_read_per_token"], 0);
  EXPECT_TRUE(b["hit_rate"].is_number());
  EXPECT_TRUE(b["cpu_s_per_gb_streamed"].is_number());
  EXPECT_EQ(a["tokens"], b["tokens"]);
  EXPECT_EQ(a["logits_hash"], b["logits_hash"]);
}

TEST_F(CliRunTest, TheLengthOfPassesChangesNoBitOfADenseModel) {
  const std::string dense = folder_->at("dense.gguf");
  ASSERT_EQ(run_process({SPILLWAY_MAKE_MODEL, "--preset", "tiny-dense", "--out", dense}).exit_code, 0);
  std::string ids = "1";
  for (int i = 1; i < 450; ++i) ids += fmt::format(",{}", 1 + i * 7 % 200);
  for (const char* kernels : {"plain", "repacked"}) {
    std::vector<std::string> hashes;
    for (const char* n : {"128", "200", "512"})
      hashes.push_back(json_of({"run", dense, "--token-ids", ids, "--context", "512", "--temp", "0", "--max-tokens",
                                "3", "--kernels", kernels, "--ubatch", n})["logits_hash"]);
    EXPECT_THAT(hashes, testing::Each(hashes.front())) << kernels;
  }
}

TEST_F(CliRunTest, APromptComesFromAnArgumentAFileOrStandardInputAlike) {
  const std::vector<std::string> rest = {"--temp", "0", "--max-tokens", "8"};
  const auto with = [&](std::vector<std::string> arguments, const std::string& input) {
    arguments.insert(arguments.begin(), {"run", model()});
    arguments.insert(arguments.end(), rest.begin(), rest.end());
    return spillway(arguments, input).out;
  };
  const std::string expected = with({"--prompt", "Hello"}, "");
  EXPECT_THAT(expected, Not(IsEmpty()));
  EXPECT_EQ(with({"Hello"}, ""), expected);
  EXPECT_EQ(with({}, "Hello\n"), expected);
  EXPECT_EQ(with({"--file", folder_->write("prompt", "Hello\n")}, ""), expected);
  EXPECT_EQ(with({"--file", "-"}, "Hello"), expected);
  EXPECT_NE(with({"--prompt", "Hello", "--raw"}, ""), expected);
  // Both: what came through the pipe, then what is to be done with it.
  EXPECT_EQ(with({"--prompt", "Say it again."}, "Hello\n"), with({}, "Hello\n\nSay it again."));
}

TEST_F(CliRunTest, TokenIdsInAreTokenIdsOut) {
  const auto outcome = spillway({"run", model(), "--token-ids", "1,2,3", "--temp", "0", "--max-tokens", "4"});
  EXPECT_THAT(outcome.out, testing::MatchesRegex("[0-9]+ [0-9]+ [0-9]+ [0-9]+\n"));
}

TEST_F(CliRunTest, TeacherTokensAreWhatIsSaid) {
  const std::string teacher = folder_->write("teacher", "5 6 7 8");
  EXPECT_EQ(spillway({"run", model(), "--token-ids", "1,2", "--teacher-tokens", teacher}).out, "5 6 7 8\n");
  EXPECT_EQ(spillway({"run", model(), "--token-ids", "1,2", "--teacher-tokens", teacher, "--max-tokens", "2"}).out,
            "5 6\n");
}

TEST_F(CliRunTest, ASeedRepeatsAnAnswer) {
  const auto with_seed = [](const char* seed) {
    return spillway({"run", model(), "--prompt", "Hello", "--max-tokens", "16", "--seed", seed}).out;
  };
  EXPECT_EQ(with_seed("7"), with_seed("7"));
  EXPECT_NE(with_seed("7"), with_seed("8"));
}

// ---- chat ----

TEST_F(CliRunTest, TheSecondTurnOfAChatComputesOnlyWhatIsNew) {
  std::string long_message;
  for (int i = 0; i < 60; ++i) long_message += "a rather long first message ";
  const auto outcome = spillway({"run", model(), "--chat", "--json", "--temp", "0", "--max-tokens", "6"},
                                long_message + "\n/foo\nHi\n/quit\nnever\n");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("/foo is no command"));
  std::istringstream lines(outcome.out);
  std::string first, second, third;
  ASSERT_TRUE(std::getline(lines, first) && std::getline(lines, second));
  EXPECT_FALSE(std::getline(lines, third));
  const uint64_t n_first = Json::parse(first)["prompt_tokens"], n_second = Json::parse(second)["prompt_tokens"];
  EXPECT_LT(n_second, n_first);
}

TEST_F(CliRunTest, AChatPrintsOnlyAnswersToStdout) {
  const auto outcome =
      spillway({"run", model(), "--chat", "--temp", "0", "--max-tokens", "6"}, "Hello\n/help\n/stats\n/clear\nHello\n");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const std::string answer = outcome.out.substr(0, outcome.out.size() / 2);
  EXPECT_EQ(outcome.out, answer + answer);  // the same question, asked anew
  EXPECT_THAT(outcome.err, HasSubstr("/quit"));
  EXPECT_THAT(outcome.err, HasSubstr("mode       resident"));
}

TEST_F(CliRunTest, AChatChangesTheBudgetOnlyOfAModelThatStreams) {
  const auto outcome = spillway({"run", model(), "--chat", "--max-tokens", "2"}, "/ram 2G\n/ram much\n/ram\n");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("load it again with another --ram"));
  EXPECT_THAT(outcome.err, HasSubstr("not 'much'"));
}

// ---- ends ----

TEST_F(CliRunTest, CtrlCEndsAnAnswerWithWhatWasSaid) {
  Process process(
      command({"run", model(), "--prompt", "Hi", "--max-tokens", "-1", "--ignore-eos", "--context", "100000"}), "");
  process.wait_for_output();
  process.signal(SIGINT);
  const auto outcome = process.finish();
  EXPECT_EQ(outcome.exit_code, 130);
  EXPECT_THAT(outcome.out, EndsWith("\n"));
  EXPECT_THAT(outcome.err, IsEmpty());
}

TEST_F(CliRunTest, CtrlCEndsAChatThatNobodySitsAt) {
  Process process(command({"run", model(), "--chat", "--max-tokens", "-1", "--ignore-eos", "--context", "100000"}),
                  "Hi\nHi\n");
  process.wait_for_output();
  process.signal(SIGINT);
  const auto outcome = process.finish();
  EXPECT_EQ(outcome.exit_code, 130) << "the second message was answered";
  EXPECT_THAT(outcome.out, EndsWith("\n"));
}

TEST_F(CliRunTest, AChatGoesOnWhereStandardErrorTakesNothing) {
  std::vector<std::string> words = {"/bin/bash", "-c", "exec \"$@\" 2>/dev/full", "bash"};
  for (const std::string& word : command({"run", model(), "--chat", "--max-tokens", "2"})) words.push_back(word);
  const auto outcome = run_process(words, "/help\n/nothing\nHi\n");
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.out, EndsWith("\n"));
}

TEST_F(CliRunTest, AReaderThatGoesAwayEndsItQuietly) {
  Process process(
      command({"run", model(), "--prompt", "Hi", "--max-tokens", "-1", "--ignore-eos", "--context", "100000"}), "");
  process.wait_for_output();
  process.close_output();
  const auto outcome = process.finish();
  EXPECT_EQ(outcome.exit_code, 141);
  EXPECT_THAT(outcome.err, IsEmpty());
}

// ---- bad input ----

TEST_F(CliRunTest, BadModelsAreNamedInOneLine) {
  const auto refused = [](const std::string& path) { return spillway({"run", path, "--prompt", "x"}); };
  expect_one_line(refused(folder_->at("missing.gguf")), 1, "no such file");
  expect_one_line(refused(folder_->path()), 1, "is a directory");
  expect_one_line(refused(folder_->write("not.gguf", "hello")), 1, "not a GGUF file");
  expect_one_line(refused(folder_->write("empty.gguf", "")), 1, "is empty");
  const std::string bytes = model_bytes();
  expect_one_line(refused(folder_->write("short.gguf", bytes.substr(0, bytes.size() / 2))), 1, "the file ends");
  std::string other = bytes;
  const size_t key = other.find("general.architecture");
  other.replace(other.find("llama", key), 5, "blama");
  expect_one_line(refused(folder_->write("arch.gguf", other)), 1, "architecture 'blama' is not known");
}

TEST_F(CliRunTest, BudgetsThatCanNotDoSayWhatCould) {
  expect_one_line(spillway({"run", model(), "--prompt", "x", "--ram", "8M"}), 1, "is too small: at least");
}

TEST_F(CliRunTest, BadPromptsAreNamedInOneLine) {
  expect_one_line(spillway({"run", model(), "--chat", "--teacher-tokens", "1,2"}), 1, "--teacher-tokens does not chat");
  expect_one_line(spillway({"run", model(), "--token-ids", "1,2,999999"}), 1,
                  "token id 999999 is outside the vocabulary");
  expect_one_line(spillway({"run", model(), "--token-ids", "1,-2"}), 1, "token id -2 is outside the vocabulary");
  expect_one_line(spillway({"run", model(), "--token-ids", "1,two"}), 1, "neither a list of token ids nor a file");
  expect_one_line(spillway({"run", model(), "--prompt", ""}), 1, "the prompt is empty");
  expect_one_line(spillway({"run", model()}, ""), 1, "the prompt is empty");
  expect_one_line(spillway({"run", model(), "--file", folder_->at("missing")}), 1, "No such file");
  std::string words;
  while (words.size() < 20000) words += "word ";
  expect_one_line(spillway({"run", model(), "--prompt", words, "--context", "256"}), 1, "raise --context");
}

TEST_F(CliRunTest, UsageErrorsExitWithTwoAndPointToTheHelp) {
  expect_one_line(spillway({"run", model(), "--frob"}), 2, "--frob (see spillway run --help)");
  expect_one_line(spillway({"run", model(), "--ram", "4x"}), 2, "'4x' is not a size");
  expect_one_line(spillway({"run", model(), "--mode", "zip"}), 2, "none of auto, resident, stream, mmap");
  expect_one_line(spillway({"run"}), 2, "MODEL is required");
  expect_one_line(spillway({"frob"}), 2, "'frob' is none of the verbs (see spillway --help)");
  expect_one_line(spillway({}), 2, "(see spillway --help)");
}

TEST_F(CliRunTest, HelpAndVersionGoToStdout) {
  for (const auto& arguments :
       std::initializer_list<std::vector<std::string>>{{"--help"}, {"run", "--help"}, {"completion", "--help"}}) {
    const auto outcome = spillway(arguments);
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_THAT(outcome.out, HasSubstr("Examples:"));
    EXPECT_THAT(outcome.err, IsEmpty());
  }
  EXPECT_THAT(spillway({"--version"}).out, StartsWith("spillway "));
}

TEST_F(CliRunTest, BashAcceptsItsCompletionScript) {
  const std::string script = folder_->write("completion", spillway({"completion", "bash"}).out);
  const auto outcome =
      run_process({"/bin/bash", "-c",
                   "source '" + script +
                       "'; COMP_WORDS=(spillway run --mo); COMP_CWORD=2; _spillway; echo ${COMPREPLY[*]};"
                       "COMP_WORDS=(spillway run --mode st); COMP_CWORD=3; _spillway; echo ${COMPREPLY[*]}"});
  EXPECT_EQ(outcome.out, "--mode\nstream\n") << outcome.err;
}

// ---- a model in several files ----

class SplitModelTest : public CliRunTest {
 protected:
  void SetUp() override {
    const auto made =
        run_process({SPILLWAY_MAKE_MODEL, "--preset", "tiny-moe", "--shards", "3", "--out", parts_.at("moe.gguf")});
    ASSERT_EQ(made.exit_code, 0) << made.err;
  }
  std::string part(int number) const { return parts_.at("moe-0000" + std::to_string(number) + "-of-00003.gguf"); }
  static std::vector<std::string> run_of(const std::string& path) {
    return {"run",      path,    "--mode", "stream", "--weights-ram", "3M", "--extent-min", "4K", "--no-heat",
            "--prompt", "Hello", "--temp", "0",      "--max-tokens",  "12"};
  }

  const TempFolder parts_;
};

TEST_F(SplitModelTest, AnswersAsTheSameModelInOneFile) {
  const Json split = json_of(run_of(part(1))), whole = json_of(run_of(model()));
  EXPECT_EQ(split["mode"], "stream");
  EXPECT_GT(split["bytes_read_per_token"], 0);
  EXPECT_EQ(whole["logits_hash"].get<std::string>().size(), 16u);
  EXPECT_EQ(split["logits_hash"], whole["logits_hash"]);
  EXPECT_EQ(split["text"], whole["text"]);
}

TEST_F(SplitModelTest, IsPlannedAsTheSameModelInOneFile) {
  const auto plan_of = [](const std::string& path) {
    const auto outcome = spillway({"plan", path, "--json", "--profile", "m1-max-32gb", "--mode", "stream"});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return Json::parse(outcome.out, nullptr, false);
  };
  Json split = plan_of(part(1)), whole = plan_of(model());
  EXPECT_EQ(split["model"]["files"].size(), 3u);
  EXPECT_EQ(whole["model"]["files"].size(), 1u);
  for (Json* plan : {&split, &whole}) (*plan)["model"].erase("files");
  // Where a tensor begins in its file decides how it lies in memory: what that takes may differ by some pages.
  for (const char* key : {"model", "plan", "mode", "why", "kernels", "context", "parallel", "ubatch", "gpu_layers"})
    EXPECT_EQ(split[key], whole[key]) << key;
  const double expected = whole["prediction"]["decode_tok_per_s"];
  ASSERT_GT(expected, 0);
  EXPECT_NEAR(split["prediction"]["decode_tok_per_s"].get<double>() / expected, 1, 0.01);
}

TEST_F(SplitModelTest, APartThatIsMissingOrNotItsOwnIsOneLine) {
  std::filesystem::remove(part(2));
  expect_one_line(spillway(run_of(part(1))), 1, "part 2 of 3 is missing: " + part(2));
  std::filesystem::copy_file(part(3), part(2));
  expect_one_line(spillway(run_of(part(1))), 1, part(2) + ": is part 3 of 3 by its content");
  expect_one_line(spillway(run_of(part(3))), 1, "name the first: " + part(1));
}

}  // namespace
}  // namespace spillway
