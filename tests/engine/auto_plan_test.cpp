// SPDX-License-Identifier: MIT
#include "engine/auto_plan.h"

#include <gmock/gmock.h>

#include <fstream>
#include <utility>

namespace spillway {
namespace {

using testing::HasSubstr;

MachineProfile kept() {
  MachineProfile machine;
  machine.name = "kept";
  machine.matmul = {{"q4_K", 10e9, 1e11}, {"q8_0", 12e9, 1e11}};
  machine.disks = {{.volume = "disk", .sequential_bytes_per_s = 2e9, .scattered_bytes_per_s = 1e9, .read_bytes = 4096}};
  return machine;
}

GgufModel model_of_one_file() {
  const std::string path = testing::TempDir() + "auto_plan_test.gguf";
  std::ofstream(path) << "not read";
  GgufModel model;
  auto file = open_file(path);
  EXPECT_TRUE(file) << file.error().message();
  model.files.push_back(std::move(*file));
  return model;
}

TEST(MachineOf, WhatWasJustMeasuredReplacesWhatWasKeptOfTheSameType) {
  const MachineProfile machine = machine_of(kept(), 3, {.compute = {"q4_K", 7e9}}, {});
  EXPECT_EQ(machine.name, "kept");
  EXPECT_EQ(machine.cores, 3u);
  ASSERT_EQ(machine.matmul.size(), 2u);
  EXPECT_EQ(machine.matmul[0].decode_bytes_per_s, 7e9);
  EXPECT_EQ(machine.matmul[0].prefill_flops_per_s, 1e11);
  EXPECT_EQ(machine.matmul[1].decode_bytes_per_s, 12e9);
  EXPECT_TRUE(machine.doubts.empty());
}

TEST(MachineOf, ATypeThatTheProfileLeftOutIsRepackedAsElsewhere) {
  MachineProfile profile = kept();
  profile.matmul[0].repack_bytes_per_s = 3e9;
  const MachineProfile machine = machine_of(profile, 3, {.compute = {"mxfp4", 7e9}}, {});
  ASSERT_EQ(machine.matmul.size(), 3u);
  EXPECT_EQ(machine.matmul[2].decode_bytes_per_s, 7e9);
  EXPECT_GT(machine.matmul[2].repack_bytes_per_s, 1e9);
}

TEST(MachineOf, ADiskFasterThanAnyIsNotBelieved) {
  const MachineProfile machine = machine_of(kept(), 1, {.compute = {}, .disk_bytes_per_s = 90e9}, {});
  ASSERT_EQ(machine.disks.size(), 1u);
  EXPECT_EQ(machine.disks[0].sequential_bytes_per_s, 2e9);
  EXPECT_TRUE(machine_of(std::nullopt, 1, {.compute = {}, .disk_bytes_per_s = 90e9}, {}).disks.empty());
}

TEST(MachineOf, ADiskThatIsMeasuredAgainLeavesTheProcessorsRateAlone) {
  const QuickFigures first{.compute = {"q4_K", 7e9, 2e11}, .disk_bytes_per_s = 2e9, .read_bytes = 4096, .depth = 8};
  const MachineProfile before = machine_of(std::nullopt, 3, first, model_of_one_file());
  const QuickFigures again{.compute = {}, .disk_bytes_per_s = 3e9, .read_bytes = 4096, .depth = 8};
  const MachineProfile after = machine_of(before, 3, again, model_of_one_file());
  ASSERT_EQ(after.disks.size(), 1u);
  EXPECT_EQ(after.disks[0].scattered_bytes_per_s, 3e9);
  ASSERT_EQ(after.matmul.size(), 1u);
  EXPECT_EQ(after.matmul[0].decode_bytes_per_s, 7e9);
  EXPECT_EQ(after.doubts, before.doubts);
  const QuickFigures cached{.compute = {}, .disk_bytes_per_s = 90e9, .read_bytes = 4096, .depth = 8};
  EXPECT_EQ(machine_of(after, 3, cached, model_of_one_file()).disks[0].scattered_bytes_per_s, 3e9) << "not believed";
}

TEST(MachineOf, WithoutAProfileItSaysThatLittleWasMeasured) {
  const MachineProfile machine = machine_of(std::nullopt, 2, {.compute = {"q6_K", 5e9, 2e11, 1e11}}, {});
  EXPECT_EQ(machine.name, "this machine");
  EXPECT_GT(machine.ram_bytes_total, 0u);
  ASSERT_EQ(machine.matmul.size(), 1u);
  EXPECT_EQ(machine.matmul[0].type, "q6_K");
  EXPECT_EQ(machine.matmul[0].expert_prefill_flops_per_s, 1e11);
  EXPECT_THAT(machine.doubts, testing::Contains(HasSubstr("no profile of this machine is kept")));
}

}  // namespace
}  // namespace spillway
