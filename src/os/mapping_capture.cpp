// SPDX-License-Identifier: MIT
#include "os/mapping_capture.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "base/bytes.h"
#include "base/check.h"
#include "base/mutex.h"

namespace spillway {
namespace {

struct Captured {
  uint64_t device;
  uint64_t inode;
  std::byte* base;
  uint64_t bytes;  // mapped
};

// Plain data reached without a lock while nothing is captured: mmap is called before main and from every thread.
// ThreadSanitizer's runtime calls it even before it is set up itself, so that way goes through no instrumented
// function, std::atomic's included.
#define BEFORE_SANITIZERS __attribute__((no_sanitize("thread")))
bool g_capturing = false;
Mutex g_mu;
std::vector<Captured> g_captured GUARDED_BY(g_mu);
bool g_reading_dropped GUARDED_BY(g_mu) = true;

BEFORE_SANITIZERS void* mmap_syscall(void* address, size_t bytes, int protection, int flags, int fd, off_t offset) {
  return reinterpret_cast<void*>(::syscall(SYS_mmap, address, bytes, protection, flags, fd, offset));
}

// An address congruent to the file modulo 2 MiB, so that whole huge pages of the file can be huge pages in memory.
void* map_aligned(size_t bytes, int protection, int flags, int fd) {
  const size_t room = round_up(bytes, kPageBytes) + kHugePageBytes;
  void* reserved = mmap_syscall(nullptr, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) return MAP_FAILED;
  auto* aligned = reinterpret_cast<std::byte*>(round_up(reinterpret_cast<uint64_t>(reserved), kHugePageBytes));
  void* mapped = mmap_syscall(aligned, bytes, protection, flags | MAP_FIXED, fd, 0);
  if (mapped == MAP_FAILED) {
    const int number = errno;
    ::munmap(reserved, room);
    errno = number;
    return MAP_FAILED;
  }
  auto* begin = static_cast<std::byte*>(reserved);
  std::byte* end = aligned + round_up(bytes, kPageBytes);
  if (aligned > begin) ::munmap(begin, static_cast<size_t>(aligned - begin));
  if (begin + room > end) ::munmap(end, static_cast<size_t>(begin + room - end));
  return mapped;
}

// Reads all of a mapping into huge pages of the page cache where kernel and file system have them (Linux 6.16 for
// ext4). Readahead alone puts a third of a file into such pages, sometimes less, and products of the rest are up to a
// tenth slower. What is cached already stays as it is. Best effort, as MAP_POPULATE is.
void populate_huge(void* mapped, size_t bytes) {
  ::syscall(SYS_madvise, mapped, bytes, MADV_HUGEPAGE);
  ::syscall(SYS_madvise, mapped, bytes, MADV_POPULATE_READ);
}

void* captured_mmap(void* address, size_t bytes, int protection, int flags, int fd, off_t offset) {
  struct stat st {};
  if (address == nullptr && offset == 0 && fd >= 0 && ::fstat(fd, &st) == 0) {
    MutexLock lock(g_mu);
    for (Captured& file : g_captured) {
      if (file.device != st.st_dev || file.inode != st.st_ino || file.base != nullptr) continue;
      void* mapped = map_aligned(bytes, protection, flags & ~MAP_POPULATE, fd);
      if (mapped == MAP_FAILED) return mapped;
      if (!g_reading_dropped && (flags & MAP_POPULATE) != 0) populate_huge(mapped, bytes);
      file.base = static_cast<std::byte*>(mapped);
      file.bytes = bytes;
      return mapped;
    }
  }
  return mmap_syscall(address, bytes, protection, flags, fd, offset);
}

// Whether the advice is about a file we capture: "will need all of it" would read a model whole, beside the mapping
// flags.
bool is_unwanted_advice(const void* address, int advice) {
  if (advice != MADV_WILLNEED) return false;
  const auto* at = static_cast<const std::byte*>(address);
  MutexLock lock(g_mu);
  if (!g_reading_dropped) return false;
  for (const Captured& file : g_captured)
    if (file.base != nullptr && at >= file.base && at < file.base + file.bytes) return true;
  return false;
}

}  // namespace

MappingCapture::MappingCapture(const std::vector<const File*>& files, Reading reading) {
  MutexLock lock(g_mu);
  CHECK(g_captured.empty());
  g_reading_dropped = reading == Reading::kDropped;
  for (const File* file : files) g_captured.push_back({file->identity().device, file->identity().inode, nullptr, 0});
  __atomic_store_n(&g_capturing, true, __ATOMIC_SEQ_CST);
}

MappingCapture::~MappingCapture() {
  __atomic_store_n(&g_capturing, false, __ATOMIC_SEQ_CST);
  MutexLock lock(g_mu);
  g_captured.clear();
}

std::byte* MappingCapture::base(size_t i) const {
  MutexLock lock(g_mu);
  return g_captured.at(i).base;
}

}  // namespace spillway

// The interposed symbols. They must stand in the executable (this object is linked in when MappingCapture is used).
extern "C" __attribute__((visibility("default"))) BEFORE_SANITIZERS void* mmap(void* address, size_t bytes,
                                                                               int protection, int flags, int fd,
                                                                               off_t offset) noexcept {
  if (!__atomic_load_n(&spillway::g_capturing, __ATOMIC_RELAXED))  // set before and cleared after the load, same thread
    return spillway::mmap_syscall(address, bytes, protection, flags, fd, offset);
  return spillway::captured_mmap(address, bytes, protection, flags, fd, offset);
}
extern "C" __attribute__((visibility("default"))) BEFORE_SANITIZERS void* mmap64(void* address, size_t bytes,
                                                                                 int protection, int flags, int fd,
                                                                                 off_t offset) noexcept {
  return mmap(address, bytes, protection, flags, fd, offset);
}

static_assert(POSIX_MADV_WILLNEED == MADV_WILLNEED);

extern "C" __attribute__((visibility("default"))) BEFORE_SANITIZERS int madvise(void* address, size_t bytes,
                                                                                int advice) noexcept {
  if (__atomic_load_n(&spillway::g_capturing, __ATOMIC_RELAXED) && spillway::is_unwanted_advice(address, advice))
    return 0;
  return static_cast<int>(::syscall(SYS_madvise, address, bytes, advice));
}
extern "C" __attribute__((visibility("default"))) BEFORE_SANITIZERS int posix_madvise(void* address, size_t bytes,
                                                                                      int advice) noexcept {
  if (advice == POSIX_MADV_DONTNEED) return 0;  // as glibc does: the kernel's own would throw data away
  return madvise(address, bytes, advice) == 0 ? 0 : errno;
}
