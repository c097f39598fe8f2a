// SPDX-License-Identifier: MIT
// spillway plan, estimate and inspect as programs see them, on models without weights.
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "../os/temp_folder.h"
#include "process.h"

namespace spillway {
namespace {

using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class PlanCommandTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<TempFolder>();
    for (const std::string preset : {"llama-70b", "moe-671b"}) {
      const ProcessOutcome made =
          run_process({SPILLWAY_MAKE_MODEL, "--preset", preset, "--sparse", "--out", model(preset)});
      ASSERT_EQ(made.exit_code, 0) << made.err;
    }
  }
  static void TearDownTestSuite() { folder_.reset(); }

  static std::string model(const std::string& preset) { return folder_->at(preset + ".gguf"); }
  static ProcessOutcome spillway(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), SPILLWAY);
    return run_process(arguments);
  }
  static nlohmann::json plan_json(const std::string& preset, std::vector<std::string> more) {
    std::vector<std::string> arguments{"plan", model(preset), "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const ProcessOutcome out = spillway(arguments);
    EXPECT_EQ(out.exit_code, 0) << out.err;
    return nlohmann::json::parse(out.out, nullptr, false);
  }
  static void expect_one_line(const ProcessOutcome& out, int exit_code, const std::string& words) {
    EXPECT_EQ(out.exit_code, exit_code);
    EXPECT_EQ(out.out, "");
    EXPECT_THAT(out.err, AllOf(StartsWith("spillway: "), HasSubstr(words), EndsWith("\n")));
    EXPECT_EQ(std::count(out.err.begin(), out.err.end(), '\n'), 1) << out.err;
  }

  static std::unique_ptr<TempFolder> folder_;
};
std::unique_ptr<TempFolder> PlanCommandTest::folder_;

TEST_F(PlanCommandTest, PlansForAShippedMachine) {
  const ProcessOutcome out = spillway({"plan", model("llama-70b"), "--profile", "m1-max-32gb"});
  ASSERT_EQ(out.exit_code, 0) << out.err;
  for (const char* words : {"70.55 B parameters", "Apple M1 Max", "does not fit; read ahead in its turn",
                            "bound by reading", "mmap: ", "resident: needs "})
    EXPECT_THAT(out.out, HasSubstr(words));
}

TEST_F(PlanCommandTest, EstimateIsTheSame) {
  const std::vector<std::string> rest = {model("llama-70b"), "--profile", "laptop-12gb", "--json"};
  std::vector<std::string> plan{"plan"}, estimate{"estimate"};
  plan.insert(plan.end(), rest.begin(), rest.end());
  estimate.insert(estimate.end(), rest.begin(), rest.end());
  EXPECT_EQ(spillway(plan).out, spillway(estimate).out);
}

TEST_F(PlanCommandTest, TheNumbersAreThereForPrograms) {
  const auto json =
      plan_json("llama-70b", {"--profile", "m1-max-32gb", "--ram", "16G", "--tensors", "--gpu-memory", "0"});
  EXPECT_EQ(json["mode"], "stream");
  EXPECT_EQ(json["host"]["memory_bytes"], 16ull << 30);
  EXPECT_LE(json["host"]["used_bytes"], json["host"]["memory_bytes"]);
  EXPECT_GT(json["prediction"]["decode_tok_per_s"], 0);
  EXPECT_GT(json["prediction"]["bytes_read_per_token"], 20ull << 30);
  EXPECT_EQ(json["tensors"].size(), 723u);
  EXPECT_EQ(json["tensors"][0]["name"], "token_embd.weight");
  EXPECT_EQ(json["tensors"][0]["where"], "rows");
}

TEST_F(PlanCommandTest, ThePartsOfTheMemorySumUp) {
  for (const char* kernels : {"plain", "repacked"}) {
    const std::vector<std::string> arguments = {"--profile", "gaming-pc-24gb", "--gpu-memory", "0", "--ram",
                                                "16G",       "--kernels",      kernels};
    const auto host = plan_json("llama-70b", arguments)["host"];
    uint64_t bytes = 0;
    for (const char* part : {"pinned_bytes", "ring_pool_bytes", "expert_pool_bytes", "buffer_bytes", "kv_bytes",
                             "compute_bytes", "program_bytes", "devices_bytes"})
      bytes += host[part].get<uint64_t>();
    EXPECT_EQ(bytes, host["used_bytes"]) << kernels;
    std::vector<std::string> as_text = {"plan", model("llama-70b")};
    as_text.insert(as_text.end(), arguments.begin(), arguments.end());
    EXPECT_EQ(spillway(as_text).out.find("not read in place") != std::string::npos, host["buffer_bytes"] > 0)
        << kernels;
  }
}

TEST_F(PlanCommandTest, ALongerContextTakesFromTheWeights) {
  const auto small = plan_json("llama-70b", {"--profile", "gaming-pc-24gb", "--gpu-memory", "0", "--context", "4096"});
  const auto large = plan_json(
      "llama-70b", {"--profile", "gaming-pc-24gb", "--gpu-memory", "0", "--context", "8192", "--parallel", "8"});
  EXPECT_EQ(large["host"]["kv_bytes"], 16 * small["host"]["kv_bytes"].get<uint64_t>());
  const auto quantized =
      plan_json("llama-70b", {"--profile", "gaming-pc-24gb", "--gpu-memory", "0", "--context", "8192", "--parallel",
                              "8", "--cache-type-k", "q8_0", "--cache-type-v", "q8_0"});
  EXPECT_LT(quantized["host"]["kv_bytes"], large["host"]["kv_bytes"]);
}

TEST_F(PlanCommandTest, ASmallerCacheIsOfferedWithWhatItBuys) {
  const std::vector<std::string> arguments = {"--profile", "gaming-pc-24gb", "--gpu-memory", "0", "--context", "32768"};
  const auto json = plan_json("llama-70b", arguments);
  ASSERT_EQ(json["choices"].size(), 1u);
  const auto& choice = json["choices"][0];
  EXPECT_EQ(choice["options"].dump(), R"(["--cache-type-k","q8_0","--cache-type-v","q8_0"])");
  EXPECT_GT(choice["saved_bytes"], 4ull << 30);
  std::vector<std::string> as_offered = arguments;
  for (const auto& option : choice["options"]) as_offered.push_back(option);
  const auto taken = plan_json("llama-70b", as_offered);
  EXPECT_EQ(taken["choices"].size(), 0u);
  EXPECT_EQ(taken["prediction"]["decode_tok_per_s"], choice["prediction"]["decode_tok_per_s"]);
  EXPECT_EQ(json["host"]["kv_bytes"].get<uint64_t>() - taken["host"]["kv_bytes"].get<uint64_t>(),
            choice["saved_bytes"]);
  std::vector<std::string> as_text = {"plan", model("llama-70b")};
  as_text.insert(as_text.end(), arguments.begin(), arguments.end());
  EXPECT_THAT(spillway(as_text).out,
              HasSubstr("choice     --cache-type-k q8_0 --cache-type-v q8_0 would save 4.69 GiB"));
}

TEST_F(PlanCommandTest, ASmallerCacheIsOfferedToARefusedContextOnlyWhereThatOneFits) {
  const auto refused = [](const char* ram) {
    return spillway({"plan", model("llama-70b"), "--profile", "gaming-pc-24gb", "--gpu-memory", "0", "--context",
                     "131072", "--ram", ram});
  };
  expect_one_line(refused("28G"), 1, "with --cache-type-k q8_0 --cache-type-v q8_0 it fits, 18.75 GiB saved");
  const ProcessOutcome neither = refused("6G");
  expect_one_line(neither, 1, "a context of 131072 tokens");
  EXPECT_THAT(neither.err, Not(HasSubstr("it fits"))) << "4,096 tokens would";
}

TEST_F(PlanCommandTest, TwoMachinesHoldWhatOneDoesNot) {
  const auto two = plan_json("moe-671b", {"--profile", "m3-ultra-512gb-x2"});
  EXPECT_EQ(two["mode"], "resident");
  EXPECT_EQ(two["host"]["streamed_bytes"], 0);
  for (const auto& device : two["devices"]) EXPECT_GT(device["weight_bytes"], 200ull << 30);
  const auto one = plan_json("moe-671b", {"--profile", "m3-ultra-512gb"});
  EXPECT_EQ(one["mode"], "stream");
  EXPECT_GT(one["host"]["streamed_bytes"], 100ull << 30);
}

TEST_F(PlanCommandTest, InspectShowsTheModelAlone) {
  const ProcessOutcome out = spillway({"inspect", model("moe-671b")});
  ASSERT_EQ(out.exit_code, 0) << out.err;
  EXPECT_THAT(out.out, AllOf(HasSubstr("256, 8 used"), HasSubstr("q8_0"), Not(HasSubstr("tok/s"))));
  const auto json = nlohmann::json::parse(spillway({"inspect", model("moe-671b"), "--json"}).out);
  EXPECT_EQ(json["experts"], 256);
  EXPECT_EQ(json["tensors_count"], 699);
  EXPECT_LT(json["kv_cache"]["bytes"]["q4_0"], json["kv_cache"]["bytes"]["q8_0"]);
}

TEST_F(PlanCommandTest, ProfilesAreListed) {
  EXPECT_THAT(spillway({"plan", "--profile", "list"}).out,
              AllOf(HasSubstr("mini-pc-8gb"), HasSubstr("m3-ultra-512gb-x2")));
  EXPECT_GE(nlohmann::json::parse(spillway({"plan", "--profile", "list", "--json"}).out).size(), 8u);
}

TEST_F(PlanCommandTest, BadInputIsOneLine) {
  const std::string path = model("llama-70b");
  expect_one_line(spillway({"plan"}), 2, "MODEL is required");
  expect_one_line(spillway({"plan", path, "--profile", "m9"}), 1, "those are gaming-pc-24gb");
  expect_one_line(
      spillway({"plan", path, "--profile", folder_->write("damaged.json", "{\"format\": 1, \"cores\": -3}")}), 1,
      "damaged.json");
  expect_one_line(spillway({"plan", path, "--profile", "mini-pc-8gb", "--ram", "0"}), 2, "--ram");
  expect_one_line(spillway({"plan", path, "--profile", "mini-pc-8gb", "--ram", "900P"}), 2, "--ram");
  expect_one_line(spillway({"plan", path, "--profile", "mini-pc-8gb", "--ram", "64M"}), 1,
                  "the budget of 64 MiB is too small: at least");
  expect_one_line(spillway({"plan", path, "--profile", "mini-pc-8gb", "--mode", "resident"}), 1, "in mode resident");
  expect_one_line(spillway({"plan", path, "--context", "0"}), 2, "--context");
  expect_one_line(spillway({"plan", path, "--parallel", "9999"}), 2, "--parallel");
  expect_one_line(spillway({"plan", path, "--profile", "mini-pc-8gb", "--cache-type-k", "q9"}), 2, "'q9' is none of");
  expect_one_line(spillway({"plan", folder_->at("none.gguf")}), 1, "none.gguf");
  for (const char* ram : {"-1", "x", "1e30", "99999999999999999999G"})
    expect_one_line(spillway({"plan", path, "--profile", "mini-pc-8gb", "--ram", ram}), 2, "--ram");
  expect_one_line(spillway({"plan", path, "--ram", "1"}), 1, "the budget of 1 B is too small: at least");
  for (const char* n : {"-1", "x", "99999999999", "99999999999999999999999"})
    expect_one_line(spillway({"plan", path, "--context", n}), 2, "--context");
  expect_one_line(spillway({"plan", path, "--parallel", "0"}), 2, "--parallel");
  for (const char* size : {"-1", "x", "900P"})
    expect_one_line(spillway({"plan", path, "--profile", "gaming-pc-24gb", "--gpu-memory", size}), 2, "--gpu-memory");
  expect_one_line(spillway({"plan", path, "--profile", "gaming-pc-24gb", "--gpu-memory", "2000T"}), 1, "at most 1 PiB");
  expect_one_line(spillway({"inspect"}), 2, "MODEL is required");
}

TEST_F(PlanCommandTest, ADamagedProfileIsOneLineThatNamesTheFileAndThePlace) {
  const std::string path = model("llama-70b");
  const auto refused = [&](const std::string& text, const std::string& words) {
    const ProcessOutcome out = spillway({"plan", path, "--profile", folder_->write("other.json", text)});
    expect_one_line(out, 1, "other.json");
    EXPECT_THAT(out.err, HasSubstr(words)) << text;
  };

  refused("", "");
  refused("{\"format\": 1, \"cores\": 4, \"ram_bytes", "");
  refused("[]", "is no object");
  refused("{\"format\": 1, \"cores\": \"four\"}", "cores");
  refused("{\"format\": 1, \"ram_bytes_per_s\": -5e9}", "ram_bytes_per_s");
  refused("{\"format\": 1, \"ram_bytes_per_s\": NaN}", "");
  refused("{\"format\": 1, \"ram_bytes_per_s\": 1e300}", "ram_bytes_per_s");
  refused("{\"format\": 1, \"ram_bytes_total\": 99999999999999999999999}", "ram_bytes_total");
}

TEST_F(PlanCommandTest, AModelThatNoTierHoldsIsRefusedWithTheLeastThatWouldDo) {
  const ProcessOutcome out = spillway({"plan", model("moe-671b"), "--profile", "mini-pc-8gb", "--ram", "1G"});
  expect_one_line(out, 1, "at least ");
  EXPECT_THAT(out.err, HasSubstr("--ram"));
}

}  // namespace
}  // namespace spillway
