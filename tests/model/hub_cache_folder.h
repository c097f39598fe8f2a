// SPDX-License-Identifier: MIT
// Writes a cache of Hugging Face's as its own programs do, in plain calls and not through the code under test.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/sha256.h"
#include "store_folder.h"

namespace spillway {

inline constexpr const char* kCommitA = "0123456789abcdef0123456789abcdef01234567";
inline constexpr const char* kCommitB = "fedcba9876543210fedcba9876543210fedcba98";

class HubCacheFolder {
 public:
  explicit HubCacheFolder(std::string path) : path_(std::move(path)) {}

  const std::string& path() const { return path_; }

  std::string repository_path(const std::string& repository) const {
    const size_t slash = repository.find('/');
    return path_ + "/models--" + repository.substr(0, slash) + "--" + repository.substr(slash + 1);
  }

  // A link in the snapshot to the blob, which is named by its content.
  void file(const std::string& repository, const std::string& commit, const std::string& path,
            std::string_view content) const {
    const std::string folder = repository_path(repository), blob = folder + "/blobs/" + sha256_hex(content);
    write_file(blob, content);
    const std::filesystem::path link = folder + "/snapshots/" + commit + "/" + path;
    std::filesystem::create_directories(link.parent_path());
    std::filesystem::create_symlink(std::filesystem::path(blob).lexically_relative(link.parent_path()), link);
  }

  void ref(const std::string& repository, const std::string& revision, const std::string& commit) const {
    write_file(repository_path(repository) + "/refs/" + revision, commit);
  }

 private:
  std::string path_;
};

}  // namespace spillway
