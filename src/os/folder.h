// SPDX-License-Identifier: MIT
// What several programs that share a folder need: a lock, the room that is left, links.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/status.h"
#include "os/fd.h"

namespace spillway {

// Held by one object at a time, of any thread or process. Released when destroyed, also by a crash.
class FolderLock {
 public:
  // Makes the folder and waits for the lock, a file `.lock` in it that its owner alone can open.
  //   Busy   another one held it for all of `wait_s`      PermissionDenied  DiskFull  Io
  static Result<FolderLock> acquire(const std::string& folder, double wait_s = 10);

 private:
  explicit FolderLock(Fd fd) : fd_(std::move(fd)) {}

  Fd fd_;
};

// Makes the folder, and those above it, where they are missing; nobody but us looks into it.
//   PermissionDenied (also where it, or a link to it, is another user's)  DiskFull  Io
Result<void> make_private_folder(const std::string& path);

// What is in `folder`, in no order: as far as it can be read, so nothing where there is no such folder. It may change
// meanwhile. Never throws, as a loop over a directory_iterator may.
std::vector<std::filesystem::directory_entry> folder_entries(const std::filesystem::path& folder);

// What a user may still write to the file system that holds `folder`, or will hold it once it is made.
//   Io
Result<uint64_t> disk_bytes_free(const std::string& folder);

// From the root on; as it is where there is no current folder any more. Links and ".." stay. Never throws.
std::string absolute_path(const std::string& path);

// A new file with the content of another, which is copied only where one of them is written to. False where the file
// system can not.
bool try_share_content(const std::string& from, const std::string& to);

// Another name for the same file. False where the file system can not, or `to` is on another one.
bool try_hard_link(const std::string& from, const std::string& to);

}  // namespace spillway
