// SPDX-License-Identifier: MIT
// Hugging Face's site on the loopback, as far as pulls and plans ask it: lists of files, files that are on another host
// (a content network), ranges, revisions, gated repositories. Files may claim to be larger than
// what is said of them: zeros follow.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/sha256.h"
#include "test_server.h"

namespace spillway {

class FakeHub {
 public:
  struct File {
    std::string content;       // from its beginning on
    uint64_t total_bytes = 0;  // that it has by the list; 0: the content's
    std::string disk_path;     // instead of the content: a file, of which parts are read
  };

  FakeHub()
      : network_([this](const TestRequest& r) { return content(r); }),
        site_([this](const TestRequest& r) { return answer(r); }) {}

  std::string url() const { return site_.url(); }
  const TestServer& site() const { return site_; }
  const TestServer& network() const { return network_; }

  // Before the first request.
  void add(const std::string& repository, const std::string& path, File file, const std::string& revision = "main") {
    files_[{repository, revision}].emplace_back(path, std::move(file));
  }
  void add(const std::string& repository, const std::string& path, std::string content,
           const std::string& revision = "main") {
    add(repository, path, File{.content = std::move(content), .disk_path = {}}, revision);
  }

  std::string gated;  // a repository whose files want `token`
  std::string token;
  bool knows_ranges = true;
  int address_uses = 1000;    // of one that a redirect leads to; then it is forbidden
  std::atomic<int> busy = 0;  // so many requests for files are told to come later

  // Of files, not of lists.
  uint64_t bytes_sent() const { return bytes_sent_; }
  void forget_bytes_sent() { bytes_sent_ = 0; }

 private:
  static std::string decoded(std::string_view text);
  static bool take(std::string_view& text, std::string_view prefix) {
    if (!text.starts_with(prefix)) return false;
    text.remove_prefix(prefix.size());
    return true;
  }

  static std::string entry(const std::string& path, const File& file) {
    const uint64_t bytes = size_of(file);
    const std::string digest = sha256_hex(file.disk_path.empty() ? file.content : file.disk_path);
    return R"({"type":"file","oid":"x","size":)" + std::to_string(bytes) + R"(,"lfs":{"oid":")" + digest +
           R"(","size":)" + std::to_string(bytes) + R"(,"pointerSize":135},"path":")" + path + R"("})";
  }

  static uint64_t size_of(const File& file);
  TestAnswer answer(const TestRequest& request);
  TestAnswer list(const std::string& repository, const std::string& revision) const;
  TestAnswer content(const TestRequest& request);
  const File* find(const std::string& repository, const std::string& revision, const std::string& path) const;

  std::map<std::pair<std::string, std::string>, std::vector<std::pair<std::string, File>>> files_;
  std::atomic<uint64_t> bytes_sent_ = 0;
  std::atomic<int> n_addresses_ = 0;
  std::mutex mutex_;
  std::map<std::string, int> uses_;  // by address
  TestServer network_, site_;
};

}  // namespace spillway
