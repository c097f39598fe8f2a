// SPDX-License-Identifier: MIT
// Reads that fail or come back short.
#include <gmock/gmock.h>

#include <string>

#include "residency_fixture.h"

namespace spillway {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class ResidencyFaults : public testing::Test {
 protected:
  // Extents are read in 4 reads each.
  Residency weights_{{{Pool::kExperts, 30, 7, 4}}, {}, kInOrder};
  SimDiskOptions& disk() { return weights_.disk().options(); }
  // The next read fails, or comes back short; those after it do not.
  uint64_t next_read() { return weights_.disk().reads_done() + 1; }

  void SetUp() override { ASSERT_TRUE(weights_.use(ids({29}))); }
  // Reads end in the order in which they began: when this one has ended, in whatever way, none is in flight.
  void stop_faults() {
    weights_.cache().drop_interest();
    (void)weights_.use(ids({28}));
    disk() = kInOrder;
  }
  void expect_works() {
    for (const uint32_t first : {0u, 4u, 8u}) {
      ASSERT_TRUE(weights_.cache().acquire(ids_from(first, 4), false));  // all slots at once
      EXPECT_TRUE(weights_.reads_as_the_file(ids_from(first, 4)));
      weights_.cache().release(ids_from(first, 4));
    }
    EXPECT_TRUE(weights_.weights().read_as_the_file());
  }
};

TEST_F(ResidencyFaults, AReadThatFailsOnceIsTriedAgain) {
  disk().fault_every_nth = next_read();
  ASSERT_TRUE(weights_.cache().acquire(ids({0}), false));
  EXPECT_TRUE(weights_.reads_as_the_file(ids({0})));
  EXPECT_EQ(weights_.disk().reads_done(), 4u + 5u);
}

TEST_F(ResidencyFaults, AShortReadIsTriedAgain) {
  disk().short_every_nth = next_read() + 2;
  ASSERT_TRUE(weights_.cache().acquire(ids({0}), false));
  EXPECT_TRUE(weights_.reads_as_the_file(ids({0})));
  EXPECT_EQ(weights_.disk().reads_done(), 4u + 5u);
}

TEST_F(ResidencyFaults, AReadThatFailsTwiceFailsTheAcquireAndNamesFileAndOffset) {
  disk().fault_every_nth = 1;
  const auto acquired = weights_.cache().acquire(ids({3}), false);
  ASSERT_FALSE(acquired);
  EXPECT_EQ(acquired.error().code(), Code::kIo);
  EXPECT_THAT(acquired.error().message(),
              AllOf(HasSubstr("sim:/0"), HasSubstr(std::to_string(weights_.extent(ExtentId{3}).pages.offset)),
                    HasSubstr("Input/output error")));
  EXPECT_FALSE(weights_.cache().is_resident(ExtentId{3}));
  EXPECT_TRUE(weights_.weights().read_as_the_file());
  stop_faults();
  ASSERT_TRUE(weights_.cache().acquire(ids({3}), false));
  EXPECT_TRUE(weights_.reads_as_the_file(ids({3})));
}

TEST_F(ResidencyFaults, AFileThatEndsEarlyFailsTheAcquireAsChanged) {
  const uint64_t end = weights_.extent(ExtentId{3}).pages.offset + 3 * kPageBytes;
  weights_.disk().shrink_files_to(end);
  const auto acquired = weights_.cache().acquire(ids({3}), false);
  ASSERT_FALSE(acquired);
  EXPECT_EQ(acquired.error().code(), Code::kChanged);
  EXPECT_THAT(acquired.error().message(), AllOf(HasSubstr("sim:/0"), HasSubstr("was it changed while in use")));
  EXPECT_TRUE(weights_.use(ids({1})));
}

TEST_F(ResidencyFaults, AFailedAcquireOfManyHoldsNone) {
  ASSERT_TRUE(weights_.use(ids({0, 1})));
  disk().fault_every_nth = 1;
  ASSERT_FALSE(weights_.cache().acquire(ids({0, 1, 2, 3}), false));
  stop_faults();
  expect_works();
}

TEST_F(ResidencyFaults, AReadAheadThatFailsIsMadeUpForWhenItIsNeeded) {
  disk().fault_every_nth = 1;
  weights_.cache().request(ids({0, 1, 2, 3}), Priority::kDemand);
  while (weights_.disk().reads_done() < 4u + 4 * 2) std::this_thread::yield();
  stop_faults();
  ASSERT_TRUE(weights_.cache().acquire(ids({0, 1, 2, 3}), false));
  EXPECT_TRUE(weights_.reads_as_the_file(ids({0, 1, 2, 3})));
}

// The first read of the first extent is held until somebody acquires it, and fails then.
class ResidencyLateWant : public ResidencyFaults {
 protected:
  // The disk works again from the read of its first page on that is the `n_tries`th.
  Result<void> acquire_while_reads_fail(int n_tries) {
    disk() = held_.options();
    disk().fail_all = true;
    disk().before_read = [this, n_tries, n = 0, hold = disk().before_read](const ReadRequest& request) mutable {
      if (request.offset == weights_.extent(ExtentId{0}).pages.offset && ++n == n_tries) disk().fail_all = false;
      hold(request);
    };
    weights_.cache().request(ids({0}), Priority::kCertain);
    held_.wait_until_held();
    std::thread goes_on([this, misses = weights_.cache().stats().misses] {
      while (weights_.cache().stats().misses == misses) std::this_thread::yield();  // it waits for the read now
      held_.go_on();
    });
    auto acquired = weights_.use(ids({0}));
    goes_on.join();
    return acquired;
  }
  HeldDisk held_;
};

TEST_F(ResidencyLateWant, IsNotFailedByAReadThatBeganBefore) {
  const auto acquired = acquire_while_reads_fail(3);  // after both tries of the read that was under way
  EXPECT_TRUE(acquired) << acquired.error().message();
  EXPECT_TRUE(weights_.reads_as_the_file(ids({0})));
  stop_faults();
  expect_works();
}

TEST_F(ResidencyLateWant, FailsWhenItsOwnReadFailsToo) {
  const auto acquired = acquire_while_reads_fail(1000);
  ASSERT_FALSE(acquired);
  EXPECT_EQ(acquired.error().code(), Code::kIo);
  stop_faults();
  expect_works();
}

TEST_F(ResidencyFaults, AThousandFailuresLoseNoSlot) {
  disk().fault_every_nth = 1;
  for (uint32_t i = 0; i < 1000; ++i) {
    ASSERT_FALSE(weights_.cache().acquire(ids({i % 29}), false));
    weights_.cache().drop_interest();
  }
  stop_faults();
  expect_works();
}

TEST_F(ResidencyFaults, FailuresAmongSuccessesLoseNoSlot) {
  disk().fault_every_nth = 4;
  disk().short_every_nth = 7;
  int failed = 0, worked = 0;
  for (uint32_t i = 0; i < 600; ++i) {
    const Ids wanted = ids_from(i % 25, 3);
    if (!weights_.cache().acquire(wanted, false)) {
      ++failed;
    } else {
      ++worked;
      ASSERT_TRUE(weights_.reads_as_the_file(wanted));
      weights_.cache().release(wanted);
    }
    weights_.cache().drop_interest();
  }
  EXPECT_GT(failed, 0);
  EXPECT_GT(worked, 0);
  stop_faults();
  expect_works();
}

}  // namespace
}  // namespace spillway
