// SPDX-License-Identifier: MIT
// Memory cgroups of our own, for benchmarks and tests: cap a child process so that its page cache counts too.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "base/status.h"

namespace spillway {

// A fresh memory cgroup below our own (v2 where its memory controller is usable, else v1), without swap. Removed when
// destroyed; its processes must have ended.
class MemoryCgroup {
 public:
  //   PermissionDenied   not root, or the hierarchy is read-only
  //   Unsupported        no memory controller is mounted
  static Result<MemoryCgroup> create(const std::string& name, uint64_t limit_bytes);
  MemoryCgroup(MemoryCgroup&& other) noexcept;
  MemoryCgroup& operator=(MemoryCgroup&&) = delete;
  ~MemoryCgroup();

  // Moves a process in; what it allocated before stays where it was charged, so do it before exec.
  Result<void> add(pid_t pid) const;

  // Changes the limit of a running group.
  Result<void> set_limit(uint64_t bytes) const;

  uint64_t usage_bytes_max() const;  // peak, page cache included
  uint64_t oom_kills() const;
  const std::string& procs_path() const { return procs_path_; }  // write a pid here to join

 private:
  MemoryCgroup() = default;
  std::string folder_;
  std::string procs_path_;
  bool v2_ = false;
};

}  // namespace spillway
