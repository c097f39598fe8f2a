// SPDX-License-Identifier: MIT
#include "cli/run/run_report.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

namespace spillway {
namespace {

using testing::HasSubstr;
using testing::Not;

const Placement kPlacement = {.mode = Mode::kStream, .why = "asked for"};

Generation generation() {
  Generation generation;
  generation.tokens = {1, 2};
  generation.text = "a\xFF";
  return generation;
}

TEST(RunReport, JsonNamesEveryFigureEvenWithoutAValue) {
  const auto json = nlohmann::json::parse(run_report_json(kPlacement, generation(), {}));
  for (const char* name : {"mode",
                           "why",
                           "text",
                           "tokens",
                           "prompt_tokens",
                           "prefill_tok_per_s",
                           "decode_tok_per_s",
                           "time_to_first_token_s",
                           "bytes_read_per_token",
                           "hit_rate",
                           "disk_wait_fraction",
                           "disk_bytes_per_s",
                           "disk_busy_fraction",
                           "busy_disk_bytes_per_s",
                           "serial_limit_tok_per_s",
                           "overlap_limit_tok_per_s",
                           "predicted_tok_per_s",
                           "roofline_fraction",
                           "major_faults_per_token",
                           "peak_rss_bytes",
                           "budget_bytes",
                           "pinned_bytes",
                           "pool_bytes",
                           "ring_pool_bytes",
                           "rows_bytes",
                           "other_bytes",
                           "pool_now_bytes",
                           "unpinned_bytes",
                           "shrinks",
                           "growths",
                           "cpu_s_per_gb_streamed",
                           "place_cpu_s",
                           "logits_hash",
                           "ungated"})
    EXPECT_TRUE(json.contains(name)) << name;
  EXPECT_EQ(json["mode"], "stream");
  EXPECT_TRUE(json["hit_rate"].is_null());
  EXPECT_TRUE(json["logits_hash"].is_null());
}

TEST(RunReport, TheTableSpeaksOfPressureOnlyWhereThereWasSome) {
  RunStats stats;
  EXPECT_THAT(run_report_table(kPlacement, generation(), stats), Not(HasSubstr("pressure")));
  stats.shrinks = 1;
  stats.growths = 4;
  stats.memory.pool_now_bytes = 3 << 20;
  EXPECT_THAT(run_report_table(kPlacement, generation(), stats),
              HasSubstr("pressure   the pool shrank 1 time and grew 4; at the end it was 3 MiB\n"));
  const Placement resident = {.mode = Mode::kResident, .why = "fits"};
  EXPECT_THAT(run_report_table(resident, generation(), stats), HasSubstr("cannot give any back"));
}

TEST(RunReport, NamesTheTimeThatRepackingTook) {
  RunStats stats;
  EXPECT_THAT(run_report_table(kPlacement, generation(), stats), Not(HasSubstr("placing")));
  stats.place_cpu_s = 1.25;
  EXPECT_THAT(run_report_table(kPlacement, generation(), stats), HasSubstr("placing    1.25 CPU s to copy"));
  Placement repacked = kPlacement;
  repacked.kernels = Kernels::kRepacked;
  EXPECT_THAT(run_report_table(repacked, generation(), stats), HasSubstr("placing    1.25 CPU s to repack"));
  EXPECT_EQ(nlohmann::json::parse(run_report_json(repacked, generation(), stats))["place_cpu_s"], 1.25);
}

TEST(RunReport, JsonIsOneLineOfValidUtf8) {
  const std::string text = run_report_json(kPlacement, generation(), {});
  EXPECT_THAT(text, Not(HasSubstr("\n")));
  EXPECT_EQ(nlohmann::json::parse(text)["text"], "a\xEF\xBF\xBD");
}

TEST(RunReport, HashesHaveSixteenDigits) {
  Generation answer = generation();
  answer.logits_hash = 0xabc;
  EXPECT_EQ(nlohmann::json::parse(run_report_json(kPlacement, answer, {}))["logits_hash"], "0000000000000abc");
}

TEST(RunReport, TheTableHasUnitsAndDashesForWhatIsMissing) {
  RunStats stats;
  stats.decode_tok_per_s = 2.714;
  stats.bytes_read_per_token = 3 << 20;
  stats.peak_rss_bytes = 1 << 30;
  const std::string table = run_report_table(kPlacement, generation(), stats);
  EXPECT_THAT(table, HasSubstr("mode       stream: asked for; plain kernels\n"));
  EXPECT_THAT(table, HasSubstr("2.71 tok/s (predicted -)"));
  EXPECT_THAT(table, HasSubstr("3 MiB read per token at -"));
  EXPECT_THAT(table, HasSubstr("1.00 GiB at most"));
  EXPECT_THAT(table, Not(HasSubstr("experts")));
}

}  // namespace
}  // namespace spillway
