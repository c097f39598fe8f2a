// SPDX-License-Identifier: MIT
#include "engine/correction_store.h"

#include <gmock/gmock.h>

#include <cstdlib>

#include "../os/temp_folder.h"
#include "base/clock.h"

namespace spillway {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

class CorrectionStoreTest : public testing::Test {
 protected:
  CorrectionStoreTest() { ::setenv("SPILLWAY_CACHE_DIR", folder_.at("cache").c_str(), 1); }
  ~CorrectionStoreTest() override { ::unsetenv("SPILLWAY_CACHE_DIR"); }

  static Correction run(double measured_tok_per_s) {
    return {"model", "machine", "stream", GiB, 4.0, measured_tok_per_s, unix_s()};
  }

  TempFolder folder_;
};

TEST_F(CorrectionStoreTest, ARunThatContradictsIsRememberedUntilOneAgrees) {
  EXPECT_THAT(load_corrections(), IsEmpty());
  ASSERT_TRUE(remember_run(run(2)));
  ASSERT_THAT(load_corrections(), SizeIs(1));
  EXPECT_DOUBLE_EQ(load_corrections()[0].factor(), 0.5);
  ASSERT_TRUE(remember_run(run(4.1)));
  EXPECT_THAT(load_corrections(), IsEmpty());
}

TEST_F(CorrectionStoreTest, ARunOfYesterdayIsForgotten) {
  Correction old = run(2), recent = run(2);
  old.unix_s -= 25 * 3600;
  recent.unix_s -= 23 * 3600;
  ASSERT_TRUE(remember_run(old));
  EXPECT_THAT(load_corrections(), IsEmpty());
  ASSERT_TRUE(remember_run(recent));
  EXPECT_THAT(load_corrections(), SizeIs(1));
}

TEST_F(CorrectionStoreTest, ADamagedFileIsIgnoredAndReplaced) {
  ASSERT_TRUE(remember_run(run(2)));
  folder_.write("cache/corrections.json", "{\"format\": 1, \"corr");
  EXPECT_THAT(load_corrections(), IsEmpty());
  ASSERT_TRUE(remember_run(run(1)));
  EXPECT_THAT(load_corrections(), SizeIs(1));
}

TEST_F(CorrectionStoreTest, AFolderThatCannotBeWrittenIsAnErrorAndNotTheEnd) {
  ::setenv("SPILLWAY_CACHE_DIR", folder_.write("file", "").c_str(), 1);
  EXPECT_FALSE(remember_run(run(2)));
  EXPECT_THAT(load_corrections(), IsEmpty());
}

}  // namespace
}  // namespace spillway
