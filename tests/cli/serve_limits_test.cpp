// SPDX-License-Identifier: MIT
#include "cli/serve_limits.h"

#include <gtest/gtest.h>

namespace spillway {
namespace {

TEST(ServeLimits, ConnectionsLeaveFilesForModels) {
  EXPECT_EQ(connections_at_once(1'048'576, 1024), 1024u);
  EXPECT_EQ(connections_at_once(1280, 1024), 1024u);
  EXPECT_EQ(connections_at_once(1024, 1024), 768u);
  EXPECT_EQ(connections_at_once(64, 1024), 32u);
  EXPECT_EQ(connections_at_once(64, 16), 16u);
  EXPECT_EQ(connections_at_once(0, 1024), 1u);
  EXPECT_EQ(connections_at_once(UINT64_MAX, 1024), 1024u);
}

TEST(ServeLimits, RequestsLeaveThreadsToWhatComputes) {
  EXPECT_EQ(requests_at_once(UINT64_MAX, 8, 1024), 1024u);
  EXPECT_EQ(requests_at_once(30'000, 8, 1024), 1024u);
  EXPECT_EQ(requests_at_once(224, 8, 1024), 100u);
  EXPECT_EQ(requests_at_once(40, 2, 1024), 11u);
  EXPECT_EQ(requests_at_once(10, 8, 1024), 1u);
}

// A thousand and some requests of one client left no connection to tell others anything.
TEST(ServeLimits, WhenAllRequestsAreAnsweredOthersCanStillConnect) {
  EXPECT_EQ(requests_of(1024), 960u);
  EXPECT_EQ(requests_of(32), 30u);
  EXPECT_EQ(requests_of(2), 1u);
  EXPECT_EQ(requests_of(1), 1u);
}

}  // namespace
}  // namespace spillway
