// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#if defined(__linux__)
#include <linux/fs.h>  // FICLONE
#endif

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <thread>

#include "base/clock.h"
#include "os/file_error.h"
#include "os/folder.h"

namespace spillway {
namespace {

// Whoever can read a file can lock it: other users held ours, which were made with 0644, for as long as they liked.
void keep_from_other_users(const Fd& lock) {
  struct stat facts {};
  if (::fstat(lock.get(), &facts) != 0 || facts.st_uid != ::geteuid()) return;
  const bool is_shared = (facts.st_mode & 0022) != 0;  // somebody wants others to use the folder
  if (!is_shared && (facts.st_mode & 0044) != 0) (void)::fchmod(lock.get(), 0600);
}

}  // namespace

Result<FolderLock> FolderLock::acquire(const std::string& folder, double wait_s) {
  constexpr auto kAgain = std::chrono::milliseconds(5);
  std::error_code ec;
  std::filesystem::create_directories(folder, ec);
  if (ec) return write_error(folder, "make the folder", ec.value());
  const std::string path = folder + "/.lock";
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd.valid()) return write_error(path, "create", errno);
  keep_from_other_users(fd);
  const Stopwatch watch;
  while (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) return write_error(path, "lock", errno);
    if (watch.elapsed_s() >= wait_s)
      return error(Code::kBusy, fmt::format("{}: another process holds it; try again", path));
    std::this_thread::sleep_for(kAgain);
  }
  return FolderLock(std::move(fd));
}

Result<void> make_private_folder(const std::string& path) {
  std::error_code ec;
  std::filesystem::create_directories(path, ec);
  if (ec) return write_error(path, "make the folder", ec.value());
  struct stat named {};
  struct stat folder {};
  if (::lstat(path.c_str(), &named) != 0 || ::stat(path.c_str(), &folder) != 0)
    return write_error(path, "make the folder private", errno);
  if (named.st_uid != ::geteuid() || folder.st_uid != ::geteuid())
    return error(Code::kPermissionDenied, fmt::format("{}: belongs to another user", path));
  if (::chmod(path.c_str(), 0700) != 0) return write_error(path, "make the folder private", errno);
  return {};
}

std::vector<std::filesystem::directory_entry> folder_entries(const std::filesystem::path& folder) {
  std::vector<std::filesystem::directory_entry> entries;
  std::error_code ec;
  for (std::filesystem::directory_iterator it(folder, ec), end; !ec && it != end; it.increment(ec))
    entries.push_back(*it);
  return entries;
}

Result<uint64_t> disk_bytes_free(const std::string& folder) {
  std::filesystem::path existing = absolute_path(folder);
  std::error_code ec;
  while (existing.has_relative_path() && !std::filesystem::exists(existing, ec)) existing = existing.parent_path();
  struct statvfs facts {};
  if (::statvfs(existing.c_str(), &facts) != 0)
    return error(Code::kIo, fmt::format("{}: free space: {}", existing.string(), std::strerror(errno)));
  return uint64_t{facts.f_bavail} * facts.f_frsize;
}

std::string absolute_path(const std::string& path) {
  std::error_code ec;
  const std::string absolute = std::filesystem::absolute(path, ec).string();
  return ec ? path : absolute;
}

bool try_share_content(const std::string& from, const std::string& to) {
#if defined(__linux__)
  const Fd source(::open(from.c_str(), O_RDONLY | O_CLOEXEC));
  const Fd copy(::open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!copy.valid()) return false;
  if (source.valid() && ::ioctl(copy.get(), FICLONE, source.get()) == 0 && ::fsync(copy.get()) == 0) return true;
  ::unlink(to.c_str());
#else
  (void)from, (void)to;
#endif
  return false;
}

bool try_hard_link(const std::string& from, const std::string& to) { return ::link(from.c_str(), to.c_str()) == 0; }

}  // namespace spillway
