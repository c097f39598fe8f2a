// SPDX-License-Identifier: MIT
#include "os/cgroup_parse.h"

#include <gmock/gmock.h>

#include <map>
#include <string>

#include "base/bytes.h"

namespace spillway {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// A machine made of texts.
class Files {
 public:
  Files& add(const std::string& path, const std::string& text) {
    texts_[path] = text;
    return *this;
  }
  TextSource source() const {
    return [this](const std::string& path) {
      const auto at = texts_.find(path);
      return at != texts_.end() ? at->second : "";
    };
  }
  MemoryPlaces places() const { return memory_places_from(source()); }
  MemoryState memory() const { return memory_state_from(source(), places()); }
  MemoryPressure pressure() const { return memory_pressure_from(source(), places()); }
  std::optional<unsigned> cpu_quota() const { return cpu_quota_from(source()); }

 private:
  std::map<std::string, std::string> texts_;
};

std::string mebibytes(uint64_t count) { return std::to_string(count * MiB) + "\n"; }

// 16 GiB, of which 12 are available.
constexpr const char* kMeminfo =
    "MemTotal:       16777216 kB\nMemFree:         1048576 kB\nMemAvailable:   12582912 kB\nBuffers: 1 kB\n";

// A desktop with systemd and v2 alone.
constexpr const char* kMountsV2 =
    "24 30 0:22 / /proc rw,nosuid,nodev,noexec,relatime shared:12 - proc proc rw\n"
    "30 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw,errors=remount-ro\n"
    "35 24 0:30 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
constexpr const char* kSelfV2 = "0::/user.slice/user-1000.slice/run-1.scope\n";

// The hybrid that this project's first machine has: controllers in v1, an empty v2 beside them.
constexpr const char* kMountsHybrid =
    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
    "40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
constexpr const char* kSelfHybrid = "9:name=systemd:/\n4:memory:/jobs/a1\n2:cpuacct:/\n1:cpu:/jobs/a1\n0::/\n";

// Docker on v1: the container sees the host's path in /proc, and only its own part of the hierarchy mounted.
constexpr const char* kMountsDockerV1 =
    "690 652 0:90 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw,mode=755\n"
    "695 690 0:33 /docker/3f1c /sys/fs/cgroup/cpu,cpuacct ro,nosuid master:11 - cgroup cgroup rw,cpu,cpuacct\n"
    "701 690 0:36 /docker/3f1c /sys/fs/cgroup/memory ro,nosuid master:20 - cgroup cgroup rw,memory\n";
constexpr const char* kSelfDockerV1 = "10:memory:/docker/3f1c\n4:cpu,cpuacct:/docker/3f1c\n";

// Docker on v2 with a cgroup namespace: all is "/".
constexpr const char* kMountsDockerV2 =
    "1048 1040 0:30 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup "
    "rw,nsdelegate,memory_recursiveprot\n";
constexpr const char* kSelfDockerV2 = "0::/\n";

Files machine(const char* mounts, const char* self) {
  Files files;
  files.add("/proc/meminfo", kMeminfo).add("/proc/self/mountinfo", mounts).add("/proc/self/cgroup", self);
  return files;
}

TEST(FindCgroups, FindsV2WithAllParents) {
  const auto found = find_cgroups(kMountsV2, kSelfV2, "memory");
  ASSERT_THAT(found, ElementsAre(CgroupFolder{true, "/sys/fs/cgroup",
                                              "/sys/fs/cgroup/user.slice/user-1000.slice/run-1.scope"}));
  EXPECT_THAT(found[0].chain(),
              ElementsAre("/sys/fs/cgroup/user.slice/user-1000.slice/run-1.scope",
                          "/sys/fs/cgroup/user.slice/user-1000.slice", "/sys/fs/cgroup/user.slice", "/sys/fs/cgroup"));
}

TEST(FindCgroups, FindsBothOfAHybrid) {
  EXPECT_THAT(find_cgroups(kMountsHybrid, kSelfHybrid, "memory"),
              ElementsAre(CgroupFolder{true, "/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified"},
                          CgroupFolder{false, "/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/jobs/a1"}));
}

TEST(FindCgroups, TakesTheMountedPartOfAContainerOff) {
  EXPECT_THAT(find_cgroups(kMountsDockerV1, kSelfDockerV1, "memory"),
              ElementsAre(CgroupFolder{false, "/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory"}));
  EXPECT_THAT(find_cgroups(kMountsDockerV1, "10:memory:/docker/3f1c/sub\n", "memory"),
              ElementsAre(CgroupFolder{false, "/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/sub"}));
  EXPECT_THAT(find_cgroups(kMountsDockerV2, kSelfDockerV2, "memory"),
              ElementsAre(CgroupFolder{true, "/sys/fs/cgroup", "/sys/fs/cgroup"}));
}

TEST(FindCgroups, ACgroupOutsideOfTheMountIsStoodForByTheMountPoint) {
  for (const char* self : {"0::/../other\n", "0::/..\n"})
    EXPECT_THAT(find_cgroups(kMountsDockerV2, self, "memory"),
                ElementsAre(CgroupFolder{true, "/sys/fs/cgroup", "/sys/fs/cgroup"}));
  EXPECT_THAT(find_cgroups(kMountsDockerV1, "10:memory:/docker/3f1cab\n", "memory"),
              ElementsAre(CgroupFolder{false, "/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory"}));
  // Mounted before the namespace was entered: the mount's root is above the namespace's.
  EXPECT_THAT(find_cgroups("1 0 0:30 /.. /cg rw - cgroup2 none rw\n", "0::/\n", "memory"),
              ElementsAre(CgroupFolder{true, "/cg", "/cg"}));
}

TEST(FindCgroups, PrefersTheMountThatShowsMostParents) {
  const std::string mounts =
      "1 0 0:30 /a/b /narrow rw - cgroup2 none rw\n"
      "2 0 0:30 / /wide rw - cgroup2 none rw\n"
      "3 0 0:30 /x /elsewhere rw - cgroup2 none rw\n";
  EXPECT_THAT(find_cgroups(mounts, "0::/a/b/c\n", "memory"), ElementsAre(CgroupFolder{true, "/wide", "/wide/a/b/c"}));
}

TEST(FindCgroups, ReadsEscapedMountPointsAndOptionalFields) {
  EXPECT_THAT(
      find_cgroups("1 0 0:30 / /my\\040cgroups rw shared:1 master:2 - cgroup2 none rw\n", "0::/a:b\n", "memory"),
      ElementsAre(CgroupFolder{true, "/my cgroups", "/my cgroups/a:b"}));
}

TEST(FindCgroups, FindsNothingInNothingOrNonsense) {
  EXPECT_THAT(find_cgroups("", "", "memory"), IsEmpty());
  EXPECT_THAT(find_cgroups("garbage\n1 2 3\n- - - -\n1 0 0:1 / /x rw -\n", "::\n:\nx", "memory"), IsEmpty());
}

TEST(MemoryState, WithoutCgroupsIsTheMachines) {
  const MemoryState state = machine("", "").memory();
  EXPECT_EQ(state.total_bytes, 16 * GiB);
  EXPECT_EQ(state.available_bytes, 12 * GiB);
  EXPECT_EQ(state.limit_bytes, 16 * GiB);
  EXPECT_FALSE(state.limited_by_cgroup);
}

TEST(MemoryState, V2UnlimitedIsTheMachines) {
  const MemoryState state = machine(kMountsV2, kSelfV2)
                                .add("/sys/fs/cgroup/user.slice/memory.max", "max\n")
                                .add("/sys/fs/cgroup/user.slice/memory.current", mebibytes(9000))
                                .memory();
  EXPECT_EQ(state.available_bytes, 12 * GiB);
  EXPECT_FALSE(state.limited_by_cgroup);
}

TEST(MemoryState, V2LimitOfAParentCountsAndCleanPageCacheIsAvailable) {
  const std::string parent = "/sys/fs/cgroup/user.slice/user-1000.slice";
  const MemoryState state =
      machine(kMountsV2, kSelfV2)
          .add(parent + "/run-1.scope/memory.max", "max\n")
          .add(parent + "/memory.max", mebibytes(4096))
          .add(parent + "/memory.high", "max\n")
          .add(parent + "/memory.current", mebibytes(3000))
          .add(parent + "/memory.stat", "anon 1048576\nfile 2097152000\nfile_dirty " + mebibytes(100) +
                                            "file_writeback " + mebibytes(50) + "inactive_file " + mebibytes(1500) +
                                            "active_file " + mebibytes(500))
          .memory();
  EXPECT_TRUE(state.limited_by_cgroup);
  EXPECT_EQ(state.limit_bytes, 4096 * MiB);
  EXPECT_EQ(state.available_bytes, (4096 - (3000 - (2000 - 150))) * MiB);
}

TEST(MemoryState, TheTightestOfAllLevelsWins) {
  const std::string scope = "/sys/fs/cgroup/user.slice/user-1000.slice/run-1.scope";
  const MemoryState state = machine(kMountsV2, kSelfV2)
                                .add(scope + "/memory.max", mebibytes(4096))
                                .add(scope + "/memory.current", mebibytes(100))
                                .add("/sys/fs/cgroup/user.slice/memory.max", mebibytes(8192))
                                .add("/sys/fs/cgroup/user.slice/memory.current", mebibytes(8000))
                                .memory();
  EXPECT_EQ(state.limit_bytes, 4096 * MiB);
  EXPECT_EQ(state.available_bytes, 192 * MiB);  // the parent is nearly full
}

TEST(MemoryState, V2HighCountsAsALimit) {
  const MemoryState state = machine(kMountsDockerV2, kSelfDockerV2)
                                .add("/sys/fs/cgroup/memory.max", mebibytes(4096))
                                .add("/sys/fs/cgroup/memory.high", mebibytes(3072))
                                .add("/sys/fs/cgroup/memory.current", mebibytes(72))
                                .memory();
  EXPECT_EQ(state.limit_bytes, 3072 * MiB);
  EXPECT_EQ(state.available_bytes, 3000 * MiB);
  EXPECT_EQ(state.machine_available_bytes, 12 * GiB);
}

TEST(MemoryState, HybridReadsTheV1Controller) {
  const std::string own = "/sys/fs/cgroup/memory/jobs/a1";
  const MemoryState state =
      machine(kMountsHybrid, kSelfHybrid)
          .add("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
          .add(own + "/memory.limit_in_bytes", mebibytes(2048))
          .add(own + "/memory.usage_in_bytes", mebibytes(1000))
          .add(own + "/memory.stat",
               "inactive_file 1\nactive_file 1\nhierarchical_memory_limit 9223372036854771712\ntotal_dirty " +
                   mebibytes(10) + "total_writeback 0\ntotal_inactive_file " + mebibytes(700) + "total_active_file " +
                   mebibytes(200))
          .memory();
  EXPECT_TRUE(state.limited_by_cgroup);
  EXPECT_EQ(state.limit_bytes, 2048 * MiB);
  EXPECT_EQ(state.available_bytes, (2048 - (1000 - 890)) * MiB);
}

TEST(MemoryState, V1LimitOfAParentOutsideOfTheContainerCounts) {
  const MemoryState state =
      machine(kMountsDockerV1, kSelfDockerV1)
          .add("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
          .add("/sys/fs/cgroup/memory/memory.usage_in_bytes", mebibytes(24))
          .add("/sys/fs/cgroup/memory/memory.stat", "hierarchical_memory_limit " + mebibytes(1024))
          .memory();
  EXPECT_EQ(state.limit_bytes, 1024 * MiB);
  EXPECT_EQ(state.available_bytes, 1000 * MiB);
}

TEST(MemoryState, IsNeverMoreThanTheMachineHasAndNeverBelowNothing) {
  Files files = machine(kMountsDockerV2, kSelfDockerV2);
  files.add("/sys/fs/cgroup/memory.max", mebibytes(15000)).add("/sys/fs/cgroup/memory.current", mebibytes(10));
  EXPECT_EQ(files.memory().available_bytes, 12 * GiB);
  files.add("/sys/fs/cgroup/memory.max", mebibytes(1000000));
  EXPECT_FALSE(files.memory().limited_by_cgroup);
  EXPECT_EQ(files.memory().limit_bytes, 16 * GiB);
  files.add("/sys/fs/cgroup/memory.max", mebibytes(100)).add("/sys/fs/cgroup/memory.current", mebibytes(120));
  EXPECT_EQ(files.memory().available_bytes, 0u);
}

TEST(CpuQuota, IsRoundedUpAndTheTightestLevelWins) {
  Files files = machine(kMountsV2, kSelfV2);
  EXPECT_EQ(files.cpu_quota(), std::nullopt);
  files.add("/sys/fs/cgroup/user.slice/cpu.max", "max 100000\n");
  EXPECT_EQ(files.cpu_quota(), std::nullopt);
  files.add("/sys/fs/cgroup/user.slice/cpu.max", "350000 100000\n");
  EXPECT_EQ(files.cpu_quota(), 4u);
  files.add("/sys/fs/cgroup/user.slice/user-1000.slice/cpu.max", "5000 100000\n");
  EXPECT_EQ(files.cpu_quota(), 1u);
}

TEST(CpuQuota, IsReadFromV1) {
  Files files = machine(kMountsDockerV1, kSelfDockerV1);
  files.add("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  files.add("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(files.cpu_quota(), std::nullopt);
  files.add("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "200000\n");
  EXPECT_EQ(files.cpu_quota(), 2u);
}

TEST(MemoryPlaces, AreTheCgroupsThatCanSetALimit) {
  Files files = machine(kMountsHybrid, kSelfHybrid);
  files.add("/sys/fs/cgroup/memory/jobs/a1/memory.limit_in_bytes", mebibytes(100));
  files.add("/sys/fs/cgroup/memory/memory.stat", "cache 0\n");  // of the root the kernel shows no limit in a container
  EXPECT_THAT(files.places().levels, ElementsAre(MemoryPlaces::Level{false, "/sys/fs/cgroup/memory/jobs/a1"},
                                                 MemoryPlaces::Level{false, "/sys/fs/cgroup/memory"}));
}

TEST(Pressure, IsReadFromOurCgroupWhereItCountsItsOwn) {
  Files files;
  files.add("/proc/self/mountinfo", kMountsV2).add("/proc/self/cgroup", kSelfV2);
  const std::string folder = "/sys/fs/cgroup/user.slice/user-1000.slice/run-1.scope";
  files.add(folder + "/memory.current", mebibytes(100));
  files.add(folder + "/memory.pressure",
            "some avg10=1.20 avg60=0.00 avg300=0.00 total=2500000\nfull avg10=0 total=7\n");
  files.add("/proc/pressure/memory", "some avg10=9.00 avg60=9.00 avg300=9.00 total=9000000\n");
  EXPECT_EQ(files.places().pressure_path, folder + "/memory.pressure");
  EXPECT_EQ(files.pressure().stalled_s, 2.5);
}

TEST(Pressure, IsTheMachinesWhereV2CountsNothing) {
  Files files;
  files.add("/proc/self/mountinfo", kMountsHybrid).add("/proc/self/cgroup", kSelfHybrid);
  files.add("/proc/pressure/memory", "some avg10=0.00 avg60=0.00 avg300=0.00 total=205000761\nfull total=1\n");
  files.add("/proc/meminfo", kMeminfo);
  EXPECT_EQ(files.places().pressure_path, "/proc/pressure/memory");
  const MemoryPressure pressure = files.pressure();
  EXPECT_DOUBLE_EQ(pressure.stalled_s, 205.000761);
  EXPECT_EQ(pressure.memory.available_bytes, 12 * GiB);
}

TEST(Pressure, OfAKernelThatDoesNotCountItIsNone) {
  EXPECT_EQ(Files().pressure().stalled_s, 0);
  for (const char* text : {"", "some\n", "some total=", "some avg10=1 total=x\n", "full total=5\n", "some total=-3\n"})
    EXPECT_EQ(stalled_s_from(text), 0) << text;
}

TEST(KeyedValue, TakesWholeKeysOnly) {
  const char* text = "total_cache 5\ncache 7\nVmRSS:\t  12 kB\nempty\nhuge 99999999999999999999999\n";
  EXPECT_EQ(keyed_value(text, "cache"), 7u);
  EXPECT_EQ(keyed_value(text, "VmRSS"), 12 * KiB);
  EXPECT_EQ(keyed_value(text, "Vm"), std::nullopt);
  EXPECT_EQ(keyed_value(text, "empty"), std::nullopt);
  EXPECT_EQ(keyed_value(text, "huge"), std::nullopt);
}

TEST(MountSource, NamesTheDeviceOfAFileSystemWithNumbersOfItsOwn) {
  const char* mounts = "30 1 0:45 /@home /home rw - btrfs /dev/mapper/disk rw\n31 1 0:46 / /tmp rw - tmpfs tmpfs rw\n";
  EXPECT_EQ(mount_source(mounts, "0:45"), "/dev/mapper/disk");
  EXPECT_EQ(mount_source(mounts, "0:46"), "");
}

}  // namespace
}  // namespace spillway
