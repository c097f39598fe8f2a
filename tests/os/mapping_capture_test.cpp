// SPDX-License-Identifier: MIT
#include "os/mapping_capture.h"

#include <gmock/gmock.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/bytes.h"
#include "smaps.h"
#include "temp_folder.h"

namespace spillway {
namespace {

constexpr int kAsLlamaMaps = MAP_SHARED | MAP_POPULATE;

// Bytes of the mapping that starts at `address` that this process has page table entries for.
uint64_t resident_bytes(const void* address) {
  unsigned long kilobytes = 0;
  return std::sscanf(smaps_line(address, "Rss:").c_str(), "Rss: %lu kB", &kilobytes) == 1 ? kilobytes * KiB : ~0ull;
}

bool is_huge_page_aligned(const void* address) { return reinterpret_cast<uint64_t>(address) % kHugePageBytes == 0; }

class MappingCaptureTest : public testing::Test {
 protected:
  void* map(const File& file, uint64_t offset = 0) {
    return ::mmap(nullptr, file.size_bytes() - offset, PROT_READ, kAsLlamaMaps, file.map_fd(),
                  static_cast<off_t>(offset));
  }

  TempFolder folder_;
  const std::string content_ = random_bytes(4 * MiB + 4 * kPageBytes + 5, test_seed());
  const std::unique_ptr<File> file_ = open_file(folder_.write("a.gguf", content_)).value();
  const std::unique_ptr<File> other_ = open_file(folder_.write("b.gguf", content_)).value();
};

TEST_F(MappingCaptureTest, ACapturedFileIsNotedAlignedAndNotRead) {
  const MappingCapture capture({file_.get()});
  EXPECT_EQ(capture.base(0), nullptr);
  void* mapped = map(*file_);
  ASSERT_NE(mapped, MAP_FAILED);
  EXPECT_EQ(capture.base(0), mapped);
  EXPECT_TRUE(is_huge_page_aligned(mapped));
  EXPECT_EQ(resident_bytes(mapped), 0u);
  EXPECT_EQ(std::memcmp(mapped, content_.data(), content_.size()), 0);
  EXPECT_EQ(::munmap(mapped, content_.size()), 0);
}

TEST_F(MappingCaptureTest, AFileThatShallBeReadIsNotedAndReadWhole) {
  const MappingCapture capture({file_.get()}, MappingCapture::Reading::kAsAsked);
  void* mapped = map(*file_);
  ASSERT_NE(mapped, MAP_FAILED);
  EXPECT_EQ(capture.base(0), mapped);
  EXPECT_GE(resident_bytes(mapped), 4 * MiB);
  EXPECT_EQ(std::memcmp(mapped, content_.data(), content_.size()), 0);
  EXPECT_EQ(::munmap(mapped, content_.size()), 0);
}

TEST_F(MappingCaptureTest, OnlyAFileThatIsReadWholeAsksForHugePages) {
  if (!std::filesystem::exists("/sys/kernel/mm/transparent_hugepage")) GTEST_SKIP() << "this kernel has no huge pages";
  for (const auto reading : {MappingCapture::Reading::kAsAsked, MappingCapture::Reading::kDropped}) {
    const MappingCapture capture({file_.get()}, reading);
    void* mapped = map(*file_);
    ASSERT_NE(mapped, MAP_FAILED);
    EXPECT_EQ(asks_for_huge_pages(mapped), reading == MappingCapture::Reading::kAsAsked);
    EXPECT_EQ(::munmap(mapped, content_.size()), 0);
  }
}

TEST_F(MappingCaptureTest, IsSeenThroughMmap64Too) {
  const MappingCapture capture({file_.get()});
  void* mapped = ::mmap64(nullptr, content_.size(), PROT_READ, kAsLlamaMaps, file_->map_fd(), 0);
  EXPECT_EQ(capture.base(0), mapped);
  EXPECT_EQ(resident_bytes(mapped), 0u);
  ::munmap(mapped, content_.size());
}

TEST_F(MappingCaptureTest, AnotherDescriptorOfTheFileIsTheFile) {
  const auto again = open_file(file_->path()).value();
  const MappingCapture capture({file_.get()});
  void* mapped = map(*again);
  EXPECT_EQ(capture.base(0), mapped);
  ::munmap(mapped, content_.size());
}

TEST_F(MappingCaptureTest, LeavesNoHolesOrRestsBeside) {
  const MappingCapture capture({file_.get()});
  auto* mapped = static_cast<std::byte*>(map(*file_));
  unsigned char resident = 0;
  // Right behind and in front nothing of the reservation is left (something else's mapping would be readable memory).
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    uint64_t begin = 0, end = 0;
    char protection[5] = "";
    ASSERT_EQ(std::sscanf(line.c_str(), "%lx-%lx %4s", &begin, &end, protection), 3);
    const bool beside = end == reinterpret_cast<uint64_t>(mapped) ||
                        begin == reinterpret_cast<uint64_t>(mapped) + round_up(content_.size(), kPageBytes);
    EXPECT_FALSE(beside && std::string(protection) == "---p" && end - begin <= kHugePageBytes) << line;
  }
  EXPECT_EQ(::mincore(mapped, kPageBytes, &resident), 0);
  ::munmap(mapped, content_.size());
}

TEST_F(MappingCaptureTest, OtherCallsPassThroughUnchanged) {
  const MappingCapture capture({file_.get()});
  // 1. another file is populated as asked
  void* other = map(*other_);
  EXPECT_GE(resident_bytes(other), 4 * MiB);
  // 2. another part of the file
  void* part = map(*file_, kPageBytes);
  EXPECT_GE(resident_bytes(part), 4 * MiB - kPageBytes);
  // 3. anonymous memory
  void* anonymous = ::mmap(nullptr, MiB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(anonymous, MAP_FAILED);
  std::memset(anonymous, 1, MiB);
  // 4. the file at an address of the caller's choice
  void* fixed = ::mmap(anonymous, MiB, PROT_READ, MAP_SHARED | MAP_FIXED, file_->map_fd(), 0);
  EXPECT_EQ(fixed, anonymous);
  EXPECT_EQ(std::memcmp(fixed, content_.data(), MiB), 0);
  EXPECT_EQ(capture.base(0), nullptr);
  // 5. failures
  EXPECT_EQ(::mmap(nullptr, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), MAP_FAILED);
  EXPECT_EQ(errno, EINVAL);
  ::munmap(fixed, MiB);
  ::munmap(part, content_.size() - kPageBytes);
  ::munmap(other, content_.size());
}

TEST_F(MappingCaptureTest, OnlyTheFirstMappingIsNoted) {
  const MappingCapture capture({file_.get()});
  void* first = map(*file_);
  void* second = map(*file_);
  EXPECT_EQ(capture.base(0), first);
  EXPECT_GE(resident_bytes(second), 4 * MiB);
  ::munmap(first, content_.size());
  ::munmap(second, content_.size());
}

TEST_F(MappingCaptureTest, SeveralFilesAreToldApart) {
  const MappingCapture capture({file_.get(), other_.get()});
  void* other = map(*other_);
  EXPECT_EQ(capture.base(0), nullptr);
  EXPECT_EQ(capture.base(1), other);
  void* first = map(*file_);
  EXPECT_EQ(capture.base(0), first);
  ::munmap(first, content_.size());
  ::munmap(other, content_.size());
}

TEST_F(MappingCaptureTest, AFailedMappingOfACapturedFileIsReportedAndLeavesNothing) {
  const MappingCapture capture({file_.get()});
  errno = 0;
  // The descriptor is open for reading only.
  EXPECT_EQ(::mmap(nullptr, content_.size(), PROT_READ | PROT_WRITE, kAsLlamaMaps, file_->map_fd(), 0), MAP_FAILED);
  EXPECT_EQ(errno, EACCES);
  EXPECT_EQ(capture.base(0), nullptr);
  void* mapped = map(*file_);
  EXPECT_EQ(capture.base(0), mapped);
  ::munmap(mapped, content_.size());
}

TEST_F(MappingCaptureTest, NothingIsCapturedAfterItsEnd) {
  { const MappingCapture capture({file_.get()}); }
  void* mapped = map(*file_);
  EXPECT_GE(resident_bytes(mapped), 4 * MiB);
  ::munmap(mapped, content_.size());
  const MappingCapture another({file_.get()});
  EXPECT_EQ(another.base(0), nullptr);
}

TEST_F(MappingCaptureTest, TwoAtOnceAreABug) {
  const MappingCapture capture({file_.get()});
  EXPECT_DEATH(MappingCapture({other_.get()}), "g_captured.empty");
}

}  // namespace
}  // namespace spillway
