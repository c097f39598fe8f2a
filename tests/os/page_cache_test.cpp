// SPDX-License-Identifier: MIT
#include "os/page_cache.h"

#include <gmock/gmock.h>

#include <string>

#include "base/bytes.h"
#include "temp_folder.h"

namespace spillway {
namespace {

class PageCacheTest : public testing::Test {
 protected:
  PageCacheTest() : file_(open_file(folder_.write("weights", std::string(kPages * kPageBytes, 'w'))).value()) {}

  std::unique_ptr<PageCacheView> view() {
    auto opened = PageCacheView::open(*file_);
    EXPECT_TRUE(opened) << opened.error().message();
    return std::move(*opened);
  }
  void read(uint64_t page, uint64_t n_pages) {
    std::string bytes(n_pages * kPageBytes, '\0');
    ASSERT_TRUE(file_->read_at(page * kPageBytes, std::as_writable_bytes(std::span(bytes))));
  }

  static constexpr uint64_t kPages = 4096;
  TempFolder folder_;
  std::unique_ptr<File> file_;
};

TEST_F(PageCacheTest, WhatWasReadIsThereAndWhatWasDroppedIsNot) {
  const auto pages = view();
  read(0, kPages);
  EXPECT_EQ(pages->cached_bytes(0, kPages * kPageBytes, kPages), kPages * kPageBytes);
  drop_from_page_cache(*file_);
  if (pages->cached_bytes(0, kPages * kPageBytes, kPages) > 0) GTEST_SKIP() << "this file system keeps what it wants";
  // A read brings more than was asked for: it reads ahead, but not backwards.
  read(kPages / 2, 8);
  EXPECT_GE(pages->cached_bytes(kPages / 2 * kPageBytes, 8 * kPageBytes, 8), 8 * kPageBytes);
  EXPECT_EQ(pages->cached_bytes(0, kPages / 4 * kPageBytes, 100), 0u);
}

TEST_F(PageCacheTest, LookingBringsNothingIn) {
  drop_from_page_cache(*file_);
  const auto pages = view();
  const uint64_t before = pages->cached_bytes(0, kPages * kPageBytes, kPages);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(pages->cached_bytes(0, kPages * kPageBytes, kPages), before);
}

TEST_F(PageCacheTest, RangesBeyondTheFileAreCutToIt) {
  const auto pages = view();
  read(0, kPages);
  EXPECT_EQ(pages->cached_bytes((kPages - 1) * kPageBytes, 100 * kPageBytes, 50), kPageBytes);
  EXPECT_EQ(pages->cached_bytes(kPages * kPageBytes, kPageBytes, 1), 0u);
  EXPECT_EQ(pages->cached_bytes(0, kPageBytes, 0), 0u);
}

}  // namespace
}  // namespace spillway
