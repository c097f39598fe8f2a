// SPDX-License-Identifier: MIT
#include <pwd.h>
#include <unistd.h>

#include <cstdlib>
#include <vector>

#include "base/bytes.h"
#include "os/home_folder.h"

namespace spillway {

std::string home_folder() {
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0') return home;
  passwd user{};
  passwd* found = nullptr;
  std::vector<char> texts(16 * KiB);
  if (::getpwuid_r(::getuid(), &user, texts.data(), texts.size(), &found) != 0 || found == nullptr) return {};
  const std::string home = found->pw_dir;
  return home.starts_with('/') && home != "/" ? home : "";
}

std::string below_home(std::string path) {
  if (!path.starts_with("~/")) return path;
  const std::string home = home_folder();
  return home.empty() ? path : home + path.substr(1);
}

}  // namespace spillway
