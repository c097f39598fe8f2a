// SPDX-License-Identifier: MIT
// What the tests of this room share: a folder on a real file system, files in it, and random data with a printed seed.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace spillway {

// SPILLWAY_TEST_SEED repeats a run; without it every run has a seed of its own. Goes into the output of a failure.
inline uint64_t test_seed() {
  static const uint64_t seed = [] {
    const char* text = std::getenv("SPILLWAY_TEST_SEED");
    return text != nullptr ? std::strtoull(text, nullptr, 10) : std::random_device{}();
  }();
  return seed;
}
#define TRACE_SEED() SCOPED_TRACE(testing::Message() << "SPILLWAY_TEST_SEED=" << ::spillway::test_seed())

inline std::string random_bytes(uint64_t bytes, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string data(round_up(bytes, 8), '\0');
  for (size_t i = 0; i < data.size(); i += 8) {
    const uint64_t word = random();
    data.replace(i, 8, reinterpret_cast<const char*>(&word), 8);
  }
  data.resize(bytes);
  return data;
}

// A fresh folder, gone with everything in it when destroyed.
class TempFolder {
 public:
  TempFolder() {
    std::string pattern = testing::TempDir() + "spillway-XXXXXX";
    path_ = ::mkdtemp(pattern.data());
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string at(const std::string& name) const { return path_ + "/" + name; }

  // Writes `content` to the file `name` (over what is there, same inode) and gives its path.
  std::string write(const std::string& name, std::string_view content) const {
    std::ofstream(at(name), std::ios::binary) << content;
    return at(name);
  }

  size_t entries() const { return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(path_), {})); }

 private:
  std::string path_;
};

}  // namespace spillway
