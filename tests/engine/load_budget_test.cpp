// SPDX-License-Identifier: MIT
#include "engine/load_budget.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "base/bytes.h"
#include "base/notice.h"

namespace spillway {
namespace {

MemoryState machine(uint64_t total_bytes, uint64_t available_bytes) {
  return {.total_bytes = total_bytes,
          .available_bytes = available_bytes,
          .machine_available_bytes = available_bytes,
          .limit_bytes = total_bytes,
          .limited_by_cgroup = false};
}

MemoryState in_cgroup(MemoryState memory, uint64_t limit_bytes, uint64_t used_bytes) {
  memory.limited_by_cgroup = true;
  memory.limit_bytes = limit_bytes;
  memory.available_bytes = std::min(memory.machine_available_bytes, limit_bytes - used_bytes);
  return memory;
}

uint64_t percent(uint64_t bytes, uint64_t share) { return bytes / 100 * share; }

TEST(LoadBudget, LeavesHeadroomToTheRestOfTheMachine) {
  const uint64_t budget = budget_bytes_for(0, machine(100 * GiB, 50 * GiB), 0);
  EXPECT_NEAR(static_cast<double>(budget), 42.0 * GiB, 1.0 * MiB) << "8 % of all memory are left";
  EXPECT_EQ(budget_bytes_for(0, machine(4 * GiB, 4 * GiB), 0), 4 * GiB - 512 * MiB) << "half a GiB at least";
  EXPECT_EQ(budget_bytes_for(0, machine(4 * GiB, GiB), 0), 768 * MiB) << "a quarter of what is free at most";
}

TEST(LoadBudget, CountsWhatThisProcessHoldsAsFree) {
  EXPECT_EQ(budget_bytes_for(0, machine(4 * GiB, 2 * GiB), GiB), 2 * GiB - 512 * MiB + GiB);
}

TEST(LoadBudget, ACgroupsLimitIsForItsProcessesAlone) {
  const MemoryState memory = machine(100 * GiB, 90 * GiB);
  const uint64_t budget = budget_bytes_for(0, in_cgroup(memory, 4 * GiB, 0), 0);
  EXPECT_NEAR(static_cast<double>(budget), static_cast<double>(percent(4 * GiB, 97)), 1.0 * MiB);
  const uint64_t beside_others = budget_bytes_for(0, in_cgroup(memory, 4 * GiB, GiB), 0);
  EXPECT_NEAR(static_cast<double>(beside_others), static_cast<double>(percent(4 * GiB, 97) - GiB), 1.0 * MiB);
  EXPECT_EQ(budget_bytes_for(0, in_cgroup(memory, 4 * GiB, 4 * GiB), 64 * MiB), 64 * MiB) << "a full one";
}

TEST(LoadBudget, ACgroupOnAFullMachineIsBoundByTheMachine) {
  const MemoryState memory = in_cgroup(machine(100 * GiB, 10 * GiB), 50 * GiB, 0);
  EXPECT_EQ(budget_bytes_for(0, memory, 0), budget_bytes_for(0, machine(100 * GiB, 10 * GiB), 0));
}

TEST(LoadBudget, WhatWasAskedForIsCutOnlyByACgroupsLimit) {
  const MemoryState memory = machine(100 * GiB, 10 * GiB);
  EXPECT_EQ(budget_bytes_for(20 * GiB, memory, 0), 20 * GiB);
  EXPECT_EQ(budget_bytes_for(2 * GiB, in_cgroup(memory, 4 * GiB, 0), 0), 2 * GiB);
  EXPECT_NEAR(static_cast<double>(budget_bytes_for(20 * GiB, in_cgroup(memory, 4 * GiB, 0), 0)),
              static_cast<double>(percent(4 * GiB, 97)), 1.0 * MiB);
}

TEST(LoadBudget, ThatACgroupCutsWhatWasAskedForIsSaid) {
  std::string said;
  set_notice_sink([&said](const std::string& sentence) { said += sentence; });
  const MemoryState memory = in_cgroup(machine(100 * GiB, 10 * GiB), 5 * GiB, 0);
  budget_bytes_for(0, memory, 0);
  budget_bytes_for(2 * GiB, memory, 0);
  budget_bytes_for(5 * GiB, memory, 0);
  EXPECT_EQ(said, "");
  budget_bytes_for(7 * GiB, memory, 0);
  EXPECT_EQ(said,
            "7.00 GiB of memory were asked for, and the limit of this process's cgroup is 5.00 GiB: raise that too");
  set_notice_sink(nullptr);
}

}  // namespace
}  // namespace spillway
