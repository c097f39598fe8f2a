// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "os/file_error.h"
#include "os/folder.h"

namespace spillway {

Result<FolderLock> FolderLock::acquire(const std::string& folder) {
  std::error_code ec;
  std::filesystem::create_directories(folder, ec);
  if (ec) return write_error(folder, "make the folder", ec.value());
  const std::string path = folder + "/.lock";
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!fd.valid()) return write_error(path, "create", errno);
  while (::flock(fd.get(), LOCK_EX) != 0)
    if (errno != EINTR) return write_error(path, "lock", errno);
  return FolderLock(std::move(fd));
}

Result<uint64_t> disk_bytes_free(const std::string& folder) {
  std::filesystem::path existing = std::filesystem::absolute(folder);
  std::error_code ec;
  while (existing.has_relative_path() && !std::filesystem::exists(existing, ec)) existing = existing.parent_path();
  struct statvfs facts {};
  if (::statvfs(existing.c_str(), &facts) != 0)
    return error(Code::kIo, fmt::format("{}: free space: {}", existing.string(), std::strerror(errno)));
  return uint64_t{facts.f_bavail} * facts.f_frsize;
}

bool try_hard_link(const std::string& from, const std::string& to) { return ::link(from.c_str(), to.c_str()) == 0; }

}  // namespace spillway
