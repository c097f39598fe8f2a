// SPDX-License-Identifier: MIT
#include "plan/kernels.h"

#include <gtest/gtest.h>

#include "base/bytes.h"

namespace spillway {
namespace {

Kernels chosen(const KernelQuestion& question) {
  const auto kernels = choose_kernels(question);
  return kernels ? *kernels : Kernels::kAuto;
}

TEST(Kernels, WhatFitsIsRepackedOnFewCoresToo) {
  EXPECT_EQ(chosen({.weight_bytes = 12 * GiB, .memory_bytes = 16 * GiB + 512 * MiB, .n_cores = 2}), Kernels::kRepacked);
}

TEST(Kernels, WhatStreamsOnFewCoresIsPlain) {
  EXPECT_EQ(chosen({.weight_bytes = 12 * GiB + 1, .memory_bytes = 16 * GiB + 512 * MiB, .n_cores = 3}),
            Kernels::kPlain);
}

TEST(Kernels, FourCoresRepackWhatStreams) {
  EXPECT_EQ(chosen({.weight_bytes = 100 * GiB, .memory_bytes = 16 * GiB, .n_cores = 4}), Kernels::kRepacked);
}

TEST(Kernels, WhereMemoryIsTightWeightsStayAsTheyAre) {
  EXPECT_EQ(chosen({.weight_bytes = 200 * MiB, .memory_bytes = 512 * MiB, .n_cores = 16}), Kernels::kPlain);
  EXPECT_EQ(chosen({.weight_bytes = 200 * MiB, .memory_bytes = GiB, .n_cores = 16}), Kernels::kRepacked);
  EXPECT_EQ(chosen({.weight_bytes = MiB, .memory_bytes = 400 * MiB, .n_cores = 2}), Kernels::kPlain);
}

TEST(Kernels, ThePageCacheAndDevicesTakeWeightsAsTheyAre) {
  EXPECT_EQ(chosen({.weight_bytes = GiB, .memory_bytes = 16 * GiB, .in_page_cache = true}), Kernels::kPlain);
  EXPECT_EQ(chosen({.weight_bytes = GiB, .memory_bytes = 16 * GiB, .on_devices = true}), Kernels::kPlain);
}

TEST(Kernels, WhatIsAskedForIsDoneOrRefused) {
  EXPECT_EQ(chosen({.wanted = Kernels::kPlain, .weight_bytes = GiB, .memory_bytes = 16 * GiB}), Kernels::kPlain);
  EXPECT_EQ(chosen({.wanted = Kernels::kRepacked, .weight_bytes = 90 * GiB, .memory_bytes = 16 * GiB}),
            Kernels::kRepacked);
  for (const bool devices : {false, true}) {
    const auto kernels =
        choose_kernels({.wanted = Kernels::kRepacked, .in_page_cache = !devices, .on_devices = devices});
    ASSERT_FALSE(kernels);
    EXPECT_EQ(kernels.error().code(), Code::kInvalidArgument);
  }
}

TEST(Kernels, NamesLeadBack) {
  for (const Kernels kernels : {Kernels::kAuto, Kernels::kPlain, Kernels::kRepacked})
    EXPECT_EQ(kernels_by_name(kernels_name(kernels)), kernels);
  EXPECT_EQ(kernels_by_name("fast"), std::nullopt);
}

}  // namespace
}  // namespace spillway
