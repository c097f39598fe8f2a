// SPDX-License-Identifier: MIT
// Sees where a library maps the files we name, and keeps it from reading them whole.
//
// libllama maps a model with MAP_SHARED|MAP_POPULATE and advises the kernel that it will need it all: either reads all
// of it at once. The executable therefore defines mmap, mmap64, madvise and posix_madvise itself (symbol interposition,
// as a malloc replacement does): a mapping of a captured file gets no MAP_POPULATE and a 2 MiB-aligned address, which
// is noted here, and that advice is dropped; every other call passes through unchanged. Where a model shall be read
// whole, addresses are noted, nothing is dropped, and the page cache is asked for huge pages.
#pragma once

#include <cstdint>
#include <vector>

#include "os/file.h"

namespace spillway {

// One capture at a time in a process (CHECK). While it lives, first mappings of `files` from offset 0 are noted.
class MappingCapture {
 public:
  enum class Reading { kDropped, kAsAsked };
  explicit MappingCapture(const std::vector<const File*>& files, Reading reading = Reading::kDropped);
  ~MappingCapture();
  MappingCapture(const MappingCapture&) = delete;
  MappingCapture& operator=(const MappingCapture&) = delete;

  // Where file `i` was mapped; nullptr when it was not.
  std::byte* base(size_t i) const;
};

}  // namespace spillway
