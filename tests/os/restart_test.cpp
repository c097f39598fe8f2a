// SPDX-License-Identifier: MIT
#include "os/restart.h"

#include <gtest/gtest.h>

namespace spillway {
namespace {

TEST(Restart, AListOfThreadsHasNoNumberAboveTheMost) {
  for (const char* list : {"", "1", "8", "512", "4,2", " 8", "many", "-1", "8,", ",", "0"})
    EXPECT_EQ(bounded_thread_list(list), list);
  EXPECT_EQ(bounded_thread_list("513"), "512");
  EXPECT_EQ(bounded_thread_list("100000"), "512");
  EXPECT_EQ(bounded_thread_list("99999999999999999999"), "512");
  EXPECT_EQ(bounded_thread_list(" +100000"), "512");
  EXPECT_EQ(bounded_thread_list("4,100000,2"), "4,512,2");
}

}  // namespace
}  // namespace spillway
