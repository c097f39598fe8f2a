// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>

#include "base/bytes.h"
#include "base/notice.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/file_error.h"

namespace spillway {
namespace {

Code code_of_errno(int number) {
  switch (number) {
    case ENOENT:
    case ENOTDIR:
      return Code::kNotFound;
    case EACCES:
    case EPERM:
      return Code::kPermissionDenied;
    default:
      return Code::kIo;
  }
}

Failure errno_error(const std::string& path, const char* what, int number) {
  if (number == ENOENT) return error(Code::kNotFound, fmt::format("{}: no such file", path));
  if (number == EACCES) return error(Code::kPermissionDenied, fmt::format("{}: no permission to read it", path));
  return error(code_of_errno(number), fmt::format("{}: {}: {}", path, what, std::strerror(number)));
}

FileIdentity identity_of(const struct stat& st) {
  return {.device = st.st_dev,
          .inode = st.st_ino,
          .bytes = static_cast<uint64_t>(st.st_size),
          .modified_ns = st.st_mtim.tv_sec * 1'000'000'000ll + st.st_mtim.tv_nsec,
          .touched_ns = st.st_ctim.tv_sec * 1'000'000'000ll + st.st_ctim.tv_nsec};
}

// O_DIRECT, not the page cache: a model larger than memory evicts itself from it. Some file systems take the flag and
// refuse the read, so one page is tried. The descriptor of `path` as it is now: the caller compares.
Fd open_direct(const std::string& path) {
#ifdef O_DIRECT
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT));
  if (!fd.valid()) return fd;
  alignas(kPageBytes) std::byte page[kPageBytes];
  if (::pread(fd.get(), page, sizeof page, 0) < 0) return Fd();
  return fd;
#else
  return Fd();
#endif
}

bool reads(int fd, std::byte* to, uint64_t bytes, uint64_t offset) {
  return ::pread(fd, to, bytes, static_cast<off_t>(offset)) >= 0;
}

// What the kernel says of the file (since Linux 6.1), else what it takes.
ReadAlignment direct_alignment(int fd) {
  constexpr uint32_t kPage = kPageBytes;
#if defined(STATX_DIOALIGN)
  struct statx stx {};
  if (::statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 && (stx.stx_mask & STATX_DIOALIGN) != 0 &&
      stx.stx_dio_offset_align > 0 && stx.stx_dio_mem_align > 0)
    return {std::min(stx.stx_dio_offset_align, kPage), std::min(stx.stx_dio_mem_align, kPage)};
#endif
  constexpr uint32_t kSector = 512;
  alignas(kPageBytes) std::byte pages[2 * kPageBytes];
  if (reads(fd, pages + kSector, kSector, kSector)) return {kSector, kSector};
  return {kPage, kPage};
}

class PosixFile : public File {
 public:
  PosixFile(std::string path, FileIdentity identity, Fd buffered, Fd direct)
      : path_(std::move(path)),
        identity_(identity),
        buffered_(std::move(buffered)),
        direct_(std::move(direct)),
        alignment_(direct_.valid() ? direct_alignment(direct_.get()) : ReadAlignment{}) {}

  const std::string& path() const override { return path_; }
  const FileIdentity& identity() const override { return identity_; }
  bool is_direct() const override { return direct_.valid(); }
  ReadAlignment read_alignment() const override { return alignment_; }
  int map_fd() const override { return buffered_.get(); }
  int read_fd() const override { return direct_.valid() ? direct_.get() : buffered_.get(); }

  Result<uint64_t> read_at(uint64_t offset, std::span<std::byte> destination) const override {
    uint64_t done = 0;
    while (done < destination.size()) {
      const ssize_t n = ::pread(buffered_.get(), destination.data() + done, destination.size() - done,
                                static_cast<off_t>(offset + done));
      if (n == 0) break;
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return error(Code::kIo, fmt::format("{}: read at {}: {}", path_, offset + done, std::strerror(errno)));
      done += static_cast<uint64_t>(n);
    }
    return done;
  }

  void expect_read(uint64_t offset, uint64_t bytes) const override {
    ::posix_fadvise(buffered_.get(), static_cast<off_t>(offset), static_cast<off_t>(bytes), POSIX_FADV_WILLNEED);
  }

  Result<void> check_unchanged() const override {
    struct stat open_now {};
    if (::fstat(buffered_.get(), &open_now) != 0) return errno_error(path_, "stat", errno);
    if (identity_of(open_now) != identity_)
      return error(Code::kChanged, fmt::format("{}: the file was changed while in use; load the model again", path_));
    return {};
  }

  Result<void> check_in_place() const override {
    struct stat path_now {};
    if (::stat(path_.c_str(), &path_now) != 0 || identity_of(path_now) != identity_)
      return error(Code::kChanged, fmt::format("{}: the file was replaced while in use; load the model again", path_));
    return {};
  }

 private:
  const std::string path_;
  const FileIdentity identity_;
  const Fd buffered_;
  const Fd direct_;
  const ReadAlignment alignment_;
};

}  // namespace

Result<std::unique_ptr<File>> open_file(const std::string& path, const OpenOptions& options) {
  // Not waiting: a named pipe would hold us here until somebody writes to it. Taken back below, since io_uring fails
  // reads that would block with EAGAIN where the flag is set.
  Fd buffered(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!buffered.valid() && errno == ENXIO)
    return error(Code::kInvalidArgument, fmt::format("{}: is not a regular file", path));
  if (!buffered.valid()) return errno_error(path, "open", errno);
  struct stat st {};
  if (::fstat(buffered.get(), &st) != 0) return errno_error(path, "stat", errno);
  if (S_ISDIR(st.st_mode))
    return error(Code::kInvalidArgument, fmt::format("{}: is a directory; name the .gguf file in it", path));
  if (!S_ISREG(st.st_mode)) return error(Code::kInvalidArgument, fmt::format("{}: is not a regular file", path));
  if (::fcntl(buffered.get(), F_SETFL, ::fcntl(buffered.get(), F_GETFL) & ~O_NONBLOCK) != 0)
    return errno_error(path, "open", errno);

  Fd direct = options.direct ? open_direct(path) : Fd();
  if (options.direct && !direct.valid())
    notice(fmt::format("{}: this file system refuses direct I/O; reading through the page cache", path));
  struct stat direct_st {};
  if (direct.valid() && ::fstat(direct.get(), &direct_st) != 0) return errno_error(path, "stat", errno);
  if (direct.valid() && identity_of(direct_st) != identity_of(st))
    return error(Code::kChanged, fmt::format("{}: the file was replaced while it was opened; try again", path));
  return std::make_unique<PosixFile>(path, identity_of(st), std::move(buffered), std::move(direct));
}

Failure write_error(const std::string& path, const char* what, int number) {
  if (number == ENOSPC || number == EDQUOT)
    return error(Code::kDiskFull,
                 fmt::format("{}: {}: {}; free some and try again", path, what, std::strerror(number)));
  const bool refused = number == EACCES || number == EPERM || number == EROFS;
  return error(refused ? Code::kPermissionDenied : Code::kIo,
               fmt::format("{}: {}: {}", path, what, std::strerror(number)));
}

void drop_from_page_cache(const File& file) {
  ::fsync(file.map_fd());
  ::posix_fadvise(file.map_fd(), 0, 0, POSIX_FADV_DONTNEED);
}

std::string identity_key(const FileIdentity& identity) {
  return fmt::format("{}.{}.{}.{}", identity.inode, identity.bytes, identity.modified_ns, identity.touched_ns);
}

Result<FileIdentity> identify_file(const std::string& path) {
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0) return errno_error(path, "stat", errno);
  return identity_of(st);
}

namespace {

// A new file beside `path`. Its name is unique, so two programs or threads that save at once leave one whole file; what
// has that name already (of a process that ended, or a link that somebody laid there) is not written to.
Result<std::pair<std::string, Fd>> make_draft(const std::string& path, mode_t mode) {
  constexpr int kTriesMax = 100;
  static std::atomic<unsigned> drafts{0};
  for (int i = 0;; ++i) {
    std::string draft = fmt::format("{}.{}.{}.tmp", path, ::getpid(), drafts++);
    Fd fd(::open(draft.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
    if (fd.valid()) return std::pair{std::move(draft), std::move(fd)};
    if (errno != EEXIST || i == kTriesMax) return write_error(draft, "create", errno);
  }
}

// NAME.123.4.tmp, as make_draft() calls them.
bool is_draft_of(const std::string& name, std::string_view of) {
  constexpr std::string_view kEnd = ".tmp";
  if (!name.starts_with(of) || !name.ends_with(kEnd) || name.size() <= of.size() + kEnd.size()) return false;
  const std::string_view numbers = std::string_view(name).substr(of.size(), name.size() - of.size() - kEnd.size());
  return numbers.front() == '.' && numbers.find_first_not_of(".0123456789") == std::string_view::npos;
}

// Of processes that were killed: others rename theirs within moments.
void remove_old_drafts(const std::string& path) {
  constexpr std::time_t kOld_s = 3600;
  const std::filesystem::path file(path);
  const std::string folder = file.has_parent_path() ? file.parent_path().string() : ".", of = file.filename().string();
  std::error_code ec;
  for (std::filesystem::directory_iterator it(folder, ec), end; !ec && it != end; it.increment(ec)) {
    if (!is_draft_of(it->path().filename().string(), of)) continue;
    struct stat st {};
    const std::string draft = it->path().string();
    if (::lstat(draft.c_str(), &st) == 0 && S_ISREG(st.st_mode) && std::time(nullptr) - st.st_mtime > kOld_s)
      ::unlink(draft.c_str());
  }
}

}  // namespace

Result<void> replace_file(const std::string& path, std::string_view content, Readers readers) {
  std::error_code ec;
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  if (!folder.empty()) std::filesystem::create_directories(folder, ec);
  if (ec) return write_error(folder.string(), "make the folder", ec.value());
  remove_old_drafts(path);
  ASSIGN_OR_RETURN(auto made, make_draft(path, readers == Readers::kOwner ? 0600 : 0644));
  const auto& [draft, fd] = made;
  for (size_t done = 0; done < content.size();) {
    const ssize_t n = ::write(fd.get(), content.data() + done, content.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int number = errno;
      ::unlink(draft.c_str());
      return write_error(path, "write", number);
    }
    done += static_cast<size_t>(n);
  }
  if (::fsync(fd.get()) != 0 || ::rename(draft.c_str(), path.c_str()) != 0) {
    const int number = errno;
    ::unlink(draft.c_str());
    return write_error(path, "replace", number);
  }
  return {};
}

Result<void> make_private_file(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.valid() || ::fchmod(fd.get(), 0600) != 0) return write_error(path, "create", errno);
  return {};
}

Result<std::string> read_text_file(const std::string& path, uint64_t bytes_max) {
  // Nobody may ever write the other end of a pipe.
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) return errno_error(path, "open", errno);
  struct stat st {};
  if (::fstat(fd.get(), &st) != 0) return errno_error(path, "stat", errno);
  if (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode) || S_ISCHR(st.st_mode))
    return error(Code::kInvalidArgument, fmt::format("{}: is not a file", path));
  std::string text;
  char buffer[16384];
  for (;;) {
    const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    if (n < 0) return errno_error(path, "read", errno);
    if (n == 0) return text;
    text.append(buffer, static_cast<size_t>(n));
    if (text.size() > bytes_max)
      return error(Code::kInvalidArgument, fmt::format("{}: larger than {}", path, format_bytes(bytes_max)));
  }
}

std::string text_or_empty(const std::string& path) { return read_text_file(path).value_or(""); }

}  // namespace spillway
