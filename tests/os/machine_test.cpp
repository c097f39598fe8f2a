// SPDX-License-Identifier: MIT
#include "os/machine.h"

#include <gmock/gmock.h>
#include <pthread.h>
#include <sched.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>
#include <string>
#include <thread>

#include "base/bytes.h"
#include "os/home_folder.h"
#include "os/memory.h"
#include "temp_folder.h"

namespace spillway {
namespace {

// Sets environment variables, and puts them back.
class Environment {
 public:
  Environment(const char* name, const char* value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    value != nullptr ? ::setenv(name, value, 1) : ::unsetenv(name);
  }
  ~Environment() { before_ ? ::setenv(name_, before_->c_str(), 1) : ::unsetenv(name_); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  const char* name_;
  std::optional<std::string> before_;
};

TEST(UsableCpus, FollowTheAffinityOfTheThread) {
  EXPECT_GE(usable_cpus(), 1u);
  EXPECT_LE(usable_cpus(), std::thread::hardware_concurrency());
  std::thread([] {
    cpu_set_t all;
    CPU_ZERO(&all);
    ASSERT_EQ(::sched_getaffinity(0, sizeof all, &all), 0);
    int first = 0;
    while (!CPU_ISSET(first, &all)) ++first;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    ASSERT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
    EXPECT_EQ(usable_cpus(), 1u);
  }).join();
}

TEST(MemoryStateNow, IsConsistent) {
  const MemoryState state = memory_state();
  EXPECT_GT(state.total_bytes, 256 * MiB);
  EXPECT_GT(state.available_bytes, 0u);
  EXPECT_LE(state.available_bytes, state.limit_bytes);
  EXPECT_LE(state.limit_bytes, state.total_bytes);
  EXPECT_EQ(state.limited_by_cgroup, state.limit_bytes < state.total_bytes);
}

TEST(ProcessUsageNow, CountsTouchedPagesAndCpuTime) {
  const ProcessUsage before = process_usage();
  EXPECT_GT(before.rss_bytes, MiB);
  EXPECT_GE(before.rss_bytes, before.rss_anon_bytes);
  EXPECT_GE(before.rss_bytes_max + MiB, before.rss_bytes);
  {
    const Region region = Region::allocate(64 * MiB, 0).value();
    std::memset(region.data(), 1, region.bytes());
    const ProcessUsage during = process_usage();
    EXPECT_GE(during.rss_anon_bytes + 2 * MiB, before.rss_anon_bytes + 64 * MiB);
    EXPECT_GE(during.data_bytes, before.data_bytes + 64 * MiB);
    EXPECT_GT(during.minor_faults, before.minor_faults);
    EXPECT_GE(during.user_cpu_s + during.system_cpu_s, before.user_cpu_s + before.system_cpu_s);
  }
  const ProcessUsage after = process_usage();
  EXPECT_LT(after.rss_anon_bytes, before.rss_anon_bytes + 32 * MiB);
  EXPECT_GE(after.rss_bytes_max + 2 * MiB, before.rss_bytes + 64 * MiB);
}

TEST(ThreadCpu, IsTheCallersOwn) {
  const double before = thread_cpu_s();
  double inside = 0;
  std::thread([&] {
    volatile uint64_t sum = 0;
    while (thread_cpu_s() < 0.02) sum = sum + 1;
    inside = thread_cpu_s();
  }).join();
  EXPECT_GE(inside, 0.02);
  EXPECT_LT(thread_cpu_s() - before, 0.02);
}

TEST(NameThread, ShowsAtMostFifteenCharacters) {
  std::thread([] {
    char name[16];
    name_thread("spill-reader");
    ASSERT_EQ(::pthread_getname_np(::pthread_self(), name, sizeof name), 0);
    EXPECT_STREQ(name, "spill-reader");
    name_thread("a-name-that-is-too-long");
    ASSERT_EQ(::pthread_getname_np(::pthread_self(), name, sizeof name), 0);
    EXPECT_STREQ(name, "a-name-that-is-");
  }).join();
}

TEST(CacheFolder, TakesTheMostSpecificSetting) {
  Environment home("HOME", "/home/ada"), caches("XDG_CACHE_HOME", "/caches"), own("SPILLWAY_CACHE_DIR", "/own");
  EXPECT_EQ(cache_folder(), "/own");
  Environment no_own("SPILLWAY_CACHE_DIR", "");
  EXPECT_EQ(cache_folder(), "/caches/spillway");
  Environment no_caches("XDG_CACHE_HOME", nullptr);
  EXPECT_EQ(cache_folder(), "/home/ada/.cache/spillway");
  Environment no_home("HOME", "");
  EXPECT_EQ(cache_folder(), home_folder() + "/.cache/spillway");
}

TEST(CpuName, IsOneLine) {
  EXPECT_FALSE(cpu_name().empty());
  EXPECT_EQ(cpu_name().find('\n'), std::string::npos);
}

TEST(LastLevelCache, IsKnownOrZero) {
  const uint64_t bytes = last_level_cache_bytes();
  EXPECT_TRUE(bytes == 0 || bytes >= 64 * KiB) << bytes;
  EXPECT_LT(bytes, 64 * GiB);
}

TEST(VolumeOf, IsTheSameForAFolderAndWhatIsInIt) {
  TempFolder folder;
  const auto volume = volume_of(folder.path());
  ASSERT_TRUE(volume) << volume.error().message();
  EXPECT_EQ(volume->mount_point.front(), '/');
  EXPECT_FALSE(volume->disk.empty());
  const auto inside = volume_of(folder.write("file", "x"));
  ASSERT_TRUE(inside);
  EXPECT_EQ(inside->mount_point, volume->mount_point);
  EXPECT_EQ(inside->disk, volume->disk);
  EXPECT_EQ(volume_of("/proc/self/status")->mount_point, "/proc");
  EXPECT_EQ(volume_of(folder.at("none")).error().code(), Code::kNotFound);
}

TEST(DeviceReadBytesMax, IsWholePagesAndAMegabyteWhereNothingIsKnown) {
  TempFolder folder;
  const uint64_t bytes = device_read_bytes_max(folder.path());
  EXPECT_GE(bytes, kPageBytes);
  EXPECT_EQ(bytes % kPageBytes, 0u);
  EXPECT_EQ(device_read_bytes_max("/proc/self/status"), MiB);
  EXPECT_EQ(device_read_bytes_max(folder.at("none")), MiB);
}

TEST(DeviceReadBytesMax, AgreesWithTheDeviceBelowTheRoot) {
  // On a machine whose root is a whole disk or a partition, sysfs can be read by hand too.
  std::ifstream mounts("/proc/mounts");
  std::string device, point, rest;
  while (mounts >> device >> point && point != "/") std::getline(mounts, rest);
  if (!device.starts_with("/dev/")) GTEST_SKIP() << "the root is on " << device;
  uint64_t segments = 0, kilobytes = 0;
  const std::string queue = "/sys/class/block/" + device.substr(5) + "/queue/";
  std::ifstream(queue + "max_segments") >> segments;
  std::ifstream(queue + "max_sectors_kb") >> kilobytes;
  if (segments == 0) GTEST_SKIP() << queue << " is not there: a partition";
  EXPECT_EQ(device_read_bytes_max("/"), std::min(segments * kPageBytes, round_down(kilobytes * KiB, kPageBytes)));
}

}  // namespace
}  // namespace spillway
