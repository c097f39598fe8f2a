// SPDX-License-Identifier: MIT
#include "os/page_cache.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/bytes.h"

namespace spillway {
namespace {

// Since Linux 5.2 everybody else is told that every page is there.
bool may_ask(const File& file) {
  struct stat of {};
  if (::fstat(file.map_fd(), &of) != 0) return false;
  return of.st_uid == ::geteuid() || ::geteuid() == 0 || ::access(file.path().c_str(), W_OK) == 0;
}

}  // namespace

Result<std::unique_ptr<PageCacheView>> PageCacheView::open(const File& file) {
  if (!may_ask(file) || file.size_bytes() == 0)
    return error(Code::kUnsupported, fmt::format("{}: the kernel tells only its owner what it holds", file.path()));
  void* base = ::mmap(nullptr, file.size_bytes(), PROT_NONE, MAP_SHARED | MAP_NORESERVE, file.map_fd(), 0);
  if (base == MAP_FAILED) return error(Code::kIo, fmt::format("{}: mmap: {}", file.path(), std::strerror(errno)));
  return std::unique_ptr<PageCacheView>(new PageCacheView(static_cast<char*>(base), file.size_bytes()));
}

PageCacheView::~PageCacheView() { ::munmap(base_, bytes_); }

uint64_t PageCacheView::cached_bytes(uint64_t offset, uint64_t bytes, uint64_t samples) const {
  if (offset >= bytes_ || samples == 0) return 0;
  bytes = std::min(bytes, bytes_ - offset);
  const uint64_t first = offset / kPageBytes, n_pages = (offset + bytes - 1) / kPageBytes + 1 - first;
  samples = std::min(samples, n_pages);
  uint64_t there = 0;
  for (uint64_t i = 0; i < samples; ++i) {
    const uint64_t page = first + i * n_pages / samples;
    unsigned char resident = 0;
    if (::mincore(base_ + page * kPageBytes, kPageBytes, &resident) == 0) there += resident & 1;
  }
  return static_cast<uint64_t>(static_cast<double>(bytes) * static_cast<double>(there) / static_cast<double>(samples));
}

}  // namespace spillway
