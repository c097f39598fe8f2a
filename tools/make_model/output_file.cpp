// SPDX-License-Identifier: MIT
#include "make_model/output_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace spillway::make_model {
namespace {

constexpr uint64_t kBufferBytes = 8 << 20;
constexpr int kBuffers = 6;
constexpr int kWriters = 3;
constexpr uint64_t kBlockBytes = 4096;  // direct writes: address, offset and length are multiples of it

std::string system_failure(const std::string& path, const char* what) {
  return fmt::format("{}: {}: {}", path, what, std::strerror(errno));
}

// O_DIRECT where the file system has it (tmpfs does not).
int open_for_writing(const std::string& path) {
  constexpr int kFlags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC;
#ifdef O_DIRECT
  const int fd = open(path.c_str(), kFlags | O_DIRECT, 0644);
  if (fd >= 0 || errno != EINVAL) return fd;
#endif
  return open(path.c_str(), kFlags, 0644);
}

std::string partial_name(const std::string& path) { return path + ".partial"; }

}  // namespace

Expected<std::unique_ptr<OutputFile>> OutputFile::create(const std::string& path, uint64_t bytes) {
  const int fd = open_for_writing(partial_name(path));
  if (fd < 0) return failure(system_failure(path, "cannot create"));
  std::unique_ptr<OutputFile> file(new OutputFile(path, fd));
#ifdef __linux__
  // Not every file system can reserve; only a full disk is a reason to stop.
  if (bytes > 0 && fallocate(fd, 0, 0, static_cast<off_t>(bytes)) != 0 && (errno == ENOSPC || errno == EFBIG)) {
    return failure(
        fmt::format("{}: {} (needs {:.2f} GB)", path, std::strerror(errno), static_cast<double>(bytes) / 1e9));
  }
#else
  (void)bytes;
#endif
  return file;
}

OutputFile::OutputFile(std::string path, int fd) : path_(std::move(path)), fd_(fd), buffers_(kBuffers) {
  for (Buffer& buffer : buffers_) {
    buffer.data = static_cast<std::byte*>(std::aligned_alloc(kBlockBytes, kBufferBytes));
    free_.push_back(&buffer);
  }
  current_ = free_.front();
  free_.pop_front();
  for (int i = 0; i < kWriters; ++i) writers_.emplace_back([this] { write_buffers(); });
}

OutputFile::~OutputFile() {
  {
    const std::lock_guard lock(mutex_);
    is_closing_ = true;
  }
  changed_.notify_all();
  for (std::thread& writer : writers_) writer.join();
  free_buffers();
  close(fd_);
  if (!is_committed_) unlink(partial_name(path_).c_str());
}

Expected<void> OutputFile::append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const uint64_t part = std::min(kBufferBytes - current_->bytes, static_cast<uint64_t>(bytes.size()));
    std::memcpy(current_->data + current_->bytes, bytes.data(), part);
    current_->bytes += part;
    appended_bytes_ += part;
    bytes = bytes.subspan(part);
    if (current_->bytes < kBufferBytes) break;

    send_current();
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !free_.empty() || !failure_.empty(); });
    if (!failure_.empty()) return failure(failure_);
    current_ = free_.front();
    free_.pop_front();
    current_->bytes = 0;
    current_->offset = appended_bytes_;
  }
  return {};
}

Expected<void> OutputFile::skip(uint64_t bytes) {
  // Up to the end of the block as zeros, since direct writes begin on a block; the rest is a hole.
  const uint64_t to_block = std::min(bytes, (kBlockBytes - appended_bytes_ % kBlockBytes) % kBlockBytes);
  const std::vector<std::byte> zeros(kBlockBytes);
  if (auto appended = append(std::span(zeros).first(to_block)); !appended) return appended;
  const uint64_t hole = (bytes - to_block) / kBlockBytes * kBlockBytes;
  if (hole > 0 && current_->bytes > 0) {
    send_current();
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !free_.empty() || !failure_.empty(); });
    if (!failure_.empty()) return failure(failure_);
    current_ = free_.front();
    free_.pop_front();
    current_->bytes = 0;
  }
  appended_bytes_ += hole;
  if (current_->bytes == 0) current_->offset = appended_bytes_;
  return append(std::span(zeros).first(bytes - to_block - hole));
}

Expected<void> OutputFile::finish() {
  if (current_->bytes > 0) {
    // Direct writes end on a block; ftruncate takes the padding off again.
    const uint64_t padding = (kBlockBytes - current_->bytes % kBlockBytes) % kBlockBytes;
    std::memset(current_->data + current_->bytes, 0, padding);
    current_->bytes += padding;
    send_current();
  }
  current_ = nullptr;
  {
    const std::lock_guard lock(mutex_);
    is_closing_ = true;
  }
  changed_.notify_all();
  for (std::thread& writer : writers_) writer.join();
  writers_.clear();
  free_buffers();
  if (!failure_.empty()) return failure(failure_);
  if (ftruncate(fd_, static_cast<off_t>(appended_bytes_)) != 0) return failure(system_failure(path_, "ftruncate"));
  if (fsync(fd_) != 0) return failure(system_failure(path_, "fsync"));
  return {};
}

Expected<void> OutputFile::commit() {
  if (std::rename(partial_name(path_).c_str(), path_.c_str()) != 0) return failure(system_failure(path_, "rename"));
  is_committed_ = true;
  return {};
}

void OutputFile::withdraw() { unlink(path_.c_str()); }

void OutputFile::free_buffers() {
  for (Buffer& buffer : buffers_) std::free(std::exchange(buffer.data, nullptr));
}

void OutputFile::send_current() {
  {
    const std::lock_guard lock(mutex_);
    full_.push_back(current_);
  }
  changed_.notify_all();
}

void OutputFile::write_buffers() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return !full_.empty() || is_closing_; });
    if (full_.empty()) return;
    Buffer* buffer = full_.front();
    full_.pop_front();
    lock.unlock();
    const std::string what_failed = write_fully(*buffer);
    lock.lock();
    if (failure_.empty()) failure_ = what_failed;
    free_.push_back(buffer);
    changed_.notify_all();
  }
}

std::string OutputFile::write_fully(const Buffer& buffer) const {
  for (uint64_t done = 0; done < buffer.bytes;) {
    const ssize_t written =
        pwrite(fd_, buffer.data + done, buffer.bytes - done, static_cast<off_t>(buffer.offset + done));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return system_failure(path_, "write");
    if (written == 0) return fmt::format("{}: write: the disk took nothing", path_);
    done += static_cast<uint64_t>(written);
  }
  return {};
}

}  // namespace spillway::make_model
