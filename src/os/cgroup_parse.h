// SPDX-License-Identifier: MIT
// Which cgroups this process is in and what they allow, from the texts that Linux shows under /proc and /sys/fs/cgroup.
// Pure functions: the texts come from outside, so v1, v2, hybrid and container set-ups are tested on any machine.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "os/machine.h"
#include "os/pressure.h"

namespace spillway {

// The text of the file at an absolute path; empty when there is none or it may not be read.
using TextSource = std::function<std::string(const std::string& path)>;

// Where a hierarchy shows this process's cgroup. From inside a container only a part of the hierarchy may be mounted;
// a cgroup that lies outside of it is stood for by the mount point, the nearest one that can be read.
struct CgroupFolder {
  bool v2 = false;
  std::string mount_point;
  std::string folder;  // mount_point or below it

  // `folder`, its parent, and so on up to `mount_point`.
  std::vector<std::string> chain() const;

  friend bool operator==(const CgroupFolder&, const CgroupFolder&) = default;
};

// The v2 hierarchy, if one is mounted (whether `controller` is active there, its files tell), then the v1 hierarchy
// that has `controller`. `mountinfo`, `self_cgroup`: the texts of /proc/self/mountinfo and /proc/self/cgroup.
std::vector<CgroupFolder> find_cgroups(std::string_view mountinfo, std::string_view self_cgroup,
                                       std::string_view controller);

// The number after `key` in lines of "key value" or "key: value kB" (as bytes): memory.stat, meminfo, status.
std::optional<uint64_t> keyed_value(std::string_view text, std::string_view key);

// A file of one number. "max", -1 and v1's huge "none" are no number.
std::optional<uint64_t> limit_value(std::string_view text);

// Whether `word` is one of the words of `text` (cgroup.controllers, cgroup.subtree_control).
bool has_word(std::string_view text, std::string_view word);

MemoryPlaces memory_places_from(const TextSource& read);

MemoryState memory_state_from(const TextSource& read, const MemoryPlaces& places);

// "some avg10=0.00 avg60=0.00 avg300=0.00 total=205000761": the total in seconds, 0 without one.
double stalled_s_from(std::string_view pressure);

MemoryPressure memory_pressure_from(const TextSource& read, const MemoryPlaces& places);

// CPUs that quotas leave this process, rounded up; nothing where no quota is set.
std::optional<unsigned> cpu_quota_from(const TextSource& read);

// The device (as in /dev/...) that is mounted for files whose stat says device major:minor, where that is a number of
// the file system's own (btrfs); empty when none is named.
std::string mount_source(std::string_view mountinfo, std::string_view major_minor);

}  // namespace spillway
