// SPDX-License-Identifier: MIT
#include "os/draft_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "os/file_error.h"

namespace spillway {
namespace {

// A rename reaches the disk with its folder. Best effort: some file systems refuse it.
void sync_folder(const std::string& path) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  const Fd fd(::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.valid()) ::fsync(fd.get());
}

}  // namespace

Result<std::optional<DraftFile>> DraftFile::try_open(const std::string& path) {
  std::error_code ec;
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  if (!folder.empty()) std::filesystem::create_directories(folder, ec);
  if (ec) return write_error(folder.string(), "make the folder", ec.value());
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!fd.valid()) return write_error(path, "create", errno);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return std::optional<DraftFile>();
    return write_error(path, "lock", errno);
  }
  // Its owner before us may have given it its final name meanwhile: then it is not ours to write to.
  struct stat opened {
  }, named{};
  if (::fstat(fd.get(), &opened) != 0) return write_error(path, "stat", errno);
  if (::stat(path.c_str(), &named) != 0 || named.st_ino != opened.st_ino || named.st_dev != opened.st_dev)
    return std::optional<DraftFile>();
  return std::optional<DraftFile>(DraftFile(path, std::move(fd), static_cast<uint64_t>(opened.st_size)));
}

Result<void> DraftFile::append(std::string_view piece) {
  while (!piece.empty()) {
    const ssize_t n = ::pwrite(fd_.get(), piece.data(), piece.size(), static_cast<off_t>(size_bytes_));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return write_error(path_, "write", errno);
    size_bytes_ += static_cast<uint64_t>(n);
    piece.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

Result<void> DraftFile::truncate(uint64_t bytes) {
  if (::ftruncate(fd_.get(), static_cast<off_t>(bytes)) != 0) return write_error(path_, "truncate", errno);
  size_bytes_ = bytes;
  return {};
}

void DraftFile::touch() const { (void)::futimens(fd_.get(), nullptr); }

Result<uint64_t> DraftFile::read_at(uint64_t offset, std::span<char> destination) const {
  uint64_t done = 0;
  while (done < destination.size()) {
    const ssize_t n =
        ::pread(fd_.get(), destination.data() + done, destination.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return error(Code::kIo, fmt::format("{}: read at {}: {}", path_, offset + done, std::strerror(errno)));
    if (n == 0) break;
    done += static_cast<uint64_t>(n);
  }
  return done;
}

Result<void> DraftFile::publish(const std::string& final_path) {
  if (::fsync(fd_.get()) != 0) return write_error(path_, "write", errno);
  if (::rename(path_.c_str(), final_path.c_str()) != 0) return write_error(final_path, "replace", errno);
  sync_folder(final_path);
  fd_ = Fd();
  return {};
}

void DraftFile::discard() {
  ::unlink(path_.c_str());
  fd_ = Fd();
}

}  // namespace spillway
