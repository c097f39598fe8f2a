// SPDX-License-Identifier: MIT
// What the kernel tells of a mapping of this process.
#pragma once

#include <cstdio>
#include <fstream>
#include <string>

namespace spillway {

// What smaps says in the line that begins with `field` about the mapping that starts at `address`.
inline std::string smaps_line(const void* address, const std::string& field) {
  char begin[32];
  std::snprintf(begin, sizeof begin, "%lx-", reinterpret_cast<unsigned long>(address));
  std::ifstream smaps("/proc/self/smaps");
  std::string line;
  while (std::getline(smaps, line) && !line.starts_with(begin)) {
  }
  while (std::getline(smaps, line))
    if (line.starts_with(field)) return line;
  return "";
}

// Whether madvise() asked for them there.
inline bool asks_for_huge_pages(const void* address) {
  return smaps_line(address, "VmFlags:").find(" hg") != std::string::npos;
}

}  // namespace spillway
