// SPDX-License-Identifier: MIT
// How much of a file the kernel holds in its page cache.
#pragma once

#include <cstdint>
#include <memory>

#include "base/status.h"
#include "os/file.h"

namespace spillway {

// A window on a file of which nothing is ever touched. Thread-safe. `file` may go before it.
class PageCacheView {
 public:
  //   Unsupported   the kernel tells only who owns the file, or may write it
  //   Io
  static Result<std::unique_ptr<PageCacheView>> open(const File& file);
  ~PageCacheView();
  PageCacheView(const PageCacheView&) = delete;
  PageCacheView& operator=(const PageCacheView&) = delete;

  // Of [offset, offset + bytes), about: looks at `samples` pages, evenly spaced, or at all where there are no more. A
  // sample takes less than a microsecond.
  uint64_t cached_bytes(uint64_t offset, uint64_t bytes, uint64_t samples) const;

 private:
  PageCacheView(char* base, uint64_t bytes) : base_(base), bytes_(bytes) {}

  char* const base_;
  const uint64_t bytes_;
};

}  // namespace spillway
