// SPDX-License-Identifier: MIT
// A file that grows under a name of its own until it is whole, and only then takes its final name. What is interrupted
// can be continued: the draft stays, unless it is discarded.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"
#include "os/fd.h"

namespace spillway {

// One thread at a time.
class DraftFile {
 public:
  // Opens or makes `path`, and its folder, for this object alone. None when another one, also of another process, has
  // it: try again later.
  //   PermissionDenied  DiskFull  Io
  static Result<std::optional<DraftFile>> try_open(const std::string& path);

  const std::string& path() const { return path_; }
  uint64_t size_bytes() const { return size_bytes_; }

  //   DiskFull  Io   what was written of `piece` is part of the file
  Result<void> append(std::string_view piece);
  Result<void> truncate(uint64_t bytes);

  // Makes its modification time that of now: others see that it is worked on. Best effort.
  void touch() const;

  //   Io
  Result<uint64_t> read_at(uint64_t offset, std::span<char> destination) const;

  // Syncs the content to the disk and moves the file to `final_path`, replacing what is there. Nothing else may be
  // called afterwards.
  //   PermissionDenied  DiskFull  Io   the draft is still there
  Result<void> publish(const std::string& final_path);

  // Removes the file. Nothing else may be called afterwards.
  void discard();

 private:
  DraftFile(std::string path, Fd fd, uint64_t size_bytes)
      : path_(std::move(path)), fd_(std::move(fd)), size_bytes_(size_bytes) {}

  std::string path_;
  Fd fd_;
  uint64_t size_bytes_ = 0;
};

}  // namespace spillway
