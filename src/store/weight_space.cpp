// SPDX-License-Identifier: MIT
#include "store/weight_space.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "store/tuning.h"

namespace spillway {
namespace {

// Pinned memory is filled and published in pieces of this size, so that no second copy of a large range ever exists.
constexpr uint64_t kPieceBytes = 256 * MiB;

}  // namespace

Status read_failure(const File& file, uint64_t offset, int64_t result) {
  if (result < 0)
    return {Code::kIo,
            fmt::format("{}: reading at {} failed: {}", file.path(), offset, std::strerror(static_cast<int>(-result)))};
  return {Code::kChanged, fmt::format("{}: the file ended early at {}; was it changed while in use?", file.path(),
                                      offset + static_cast<uint64_t>(result))};
}

Result<WeightSpace> WeightSpace::open(std::vector<MappedFile> files) {
  if (system_page_bytes() != kPageBytes)
    return error(Code::kUnsupported, fmt::format("memory pages of {} B are not supported, only 4096 B; use --mode mmap",
                                                 system_page_bytes()));
  for (const MappedFile& mapped : files)
    if (mapped.base != nullptr) expect_random_access(mapped.base, round_up(mapped.file->size_bytes(), kPageBytes));
  return WeightSpace(std::move(files));
}

Result<void> WeightSpace::publish(const Extent& extent, std::byte* staging) const {
  return publish_pages(staging, address(extent.file, extent.pages.offset), extent.pages.bytes);
}

Result<void> WeightSpace::withdraw(const Extent& extent, std::byte* staging) const {
  return withdraw_pages(address(extent.file, extent.pages.offset), staging, extent.pages.bytes,
                        files_[extent.file].file->map_fd(), extent.pages.offset);
}

Result<void> WeightSpace::show_file(const PinRange& range) const {
  return show_file_pages(address(range.file, range.pages.offset), range.pages.bytes, files_[range.file].file->map_fd(),
                         range.pages.offset);
}

Result<void> WeightSpace::load_for_good(const std::vector<PinRange>& ranges, ReadRing& ring, uint32_t read_bytes,
                                        const Progress& progress) const {
  uint64_t done_bytes = 0;
  for (const PinRange& range : ranges) {
    const File& from = *files_[range.file].file;
    for (uint64_t at = range.pages.offset; at < range.pages.end(); at += kPieceBytes) {
      const ByteRange piece{at, std::min(kPieceBytes, range.pages.end() - at)};
      std::byte* to = address(range.file, piece.offset);
      ASSIGN_OR_RETURN(const Region staging,
                       Region::allocate(piece.bytes, reinterpret_cast<uint64_t>(to) % kHugePageBytes));
      // Buffered for the page that the file ends in: direct reads of it come back short, and its rest must read as
      // zeros.
      const uint64_t whole_bytes = std::min(piece.bytes, round_down(from.size_bytes(), kPageBytes) - piece.offset);
      std::vector<ReadOutcome> outcomes;
      std::vector<unsigned> tries(whole_bytes / read_bytes + 1, 0);
      uint64_t next = 0;
      const auto submit = [&](uint64_t offset) {
        const auto bytes = static_cast<uint32_t>(std::min<uint64_t>(read_bytes, whole_bytes - offset));
        ++tries[offset / read_bytes];
        ring.submit({&from, piece.offset + offset, staging.data() + offset, bytes, offset});
      };
      tl::expected<void, Status> outcome{};
      while (next < whole_bytes || ring.in_flight() > 0) {
        while (outcome && next < whole_bytes && ring.in_flight() < ring.depth()) {
          submit(next);
          next += read_bytes;
        }
        if (ring.in_flight() == 0) break;
        outcomes.clear();
        ring.wait(outcomes);
        for (const ReadOutcome& read : outcomes) {
          const uint64_t wanted = std::min<uint64_t>(read_bytes, whole_bytes - read.tag);
          if (read.result == static_cast<int64_t>(wanted)) {
            done_bytes += wanted;
          } else if (tries[read.tag / read_bytes] < kReadTries) {
            submit(read.tag);
          } else if (outcome) {
            outcome = tl::unexpected<Status>(read_failure(from, piece.offset + read.tag, read.result));
          }
        }
        if (outcome && progress && !progress(done_bytes)) outcome = error(Code::kCancelled, "loading was cancelled");
      }
      RETURN_IF_ERROR(outcome);
      if (whole_bytes < piece.bytes) {
        const uint64_t tail_offset = piece.offset + whole_bytes;
        ASSIGN_OR_RETURN(const uint64_t got, from.read_at(tail_offset, {staging.data() + whole_bytes, kPageBytes}));
        if (tail_offset + got < from.size_bytes())
          return tl::unexpected<Status>(read_failure(from, tail_offset, static_cast<int64_t>(got)));
      }
      RETURN_IF_ERROR(publish_pages(staging.data(), to, piece.bytes));
    }
  }
  return {};
}

}  // namespace spillway
