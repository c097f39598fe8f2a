// SPDX-License-Identifier: MIT
#include "os/home_folder.h"

#include <gtest/gtest.h>
#include <pwd.h>
#include <unistd.h>

#include <cstdlib>

namespace spillway {
namespace {

TEST(HomeFolder, WhereItIsNotSetIsWhatTheSystemKnows) {
  const char* set = std::getenv("HOME");
  const std::string before = set != nullptr ? set : "";
  ::setenv("HOME", "/home/ada", 1);
  EXPECT_EQ(home_folder(), "/home/ada");
  EXPECT_EQ(below_home("~/a b"), "/home/ada/a b");
  for (const char* other : {"~ada/x", "~", "", "x/~/y"}) EXPECT_EQ(below_home(other), other);
  const passwd* user = ::getpwuid(::getuid());
  const std::string known = user == nullptr || std::string(user->pw_dir) == "/" ? "" : user->pw_dir;
  ::setenv("HOME", "", 1);
  EXPECT_EQ(home_folder(), known);
  ::unsetenv("HOME");
  EXPECT_EQ(home_folder(), known);
  if (set != nullptr) ::setenv("HOME", before.c_str(), 1);
}

}  // namespace
}  // namespace spillway
