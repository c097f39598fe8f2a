// SPDX-License-Identifier: MIT
// What the machine and this process have and use, as the system reports it now. Thread-safe, no state. Linux: /proc,
// cgroup v1 and v2.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/status.h"

namespace spillway {

// CPUs this process may run on (affinity and cgroup quota), at least 1 and at most kThreadsMax.
unsigned usable_cpus();

// The processor's name as the kernel shows it ("AMD EPYC 9554 64-Core Processor"); its architecture where it has none.
std::string cpu_name();

// The caches that memory traffic must get past: the largest level, all of them together; 0 when the kernel does not
// say.
uint64_t last_level_cache_bytes();

struct MemoryState {
  uint64_t total_bytes = 0;      // of the machine
  uint64_t available_bytes = 0;  // what new allocations can have without swapping: the machine's, or less by the cgroup
  uint64_t machine_available_bytes = 0;  // the machine's, whatever the cgroup allows
  uint64_t limit_bytes = 0;  // the smallest memory limit of the cgroups this process is in; total_bytes when none
  bool limited_by_cgroup = false;
};
// The whole chain of parent cgroups counts; page cache that the cgroup could drop counts as available.
MemoryState memory_state();

// Counters of this process since its start, unless said otherwise.
struct ProcessUsage {
  uint64_t rss_bytes = 0;       // resident now: anonymous, file and shared
  uint64_t rss_anon_bytes = 0;  // of that, anonymous
  uint64_t rss_bytes_max = 0;   // peak (VmHWM)
  uint64_t data_bytes = 0;      // private writable address space (VmData): an upper bound of what may become anonymous
  uint64_t major_faults = 0;    // pages read from disk by touching them, all threads
  uint64_t minor_faults = 0;
  double user_cpu_s = 0;
  double system_cpu_s = 0;
};
ProcessUsage process_usage();

// CPU seconds of the calling thread.
double thread_cpu_s();

// Names the calling thread for debuggers and top; at most 15 characters count.
void name_thread(const char* name);

// Folder for this program's caches: $SPILLWAY_CACHE_DIR, $XDG_CACHE_HOME/spillway or ~/.cache/spillway; empty when none
// of them is set. Not created.
std::string cache_folder();

// The file system that holds a file.
struct Volume {
  std::string mount_point;  // the highest folder above the file that is on it
  std::string disk;  // what the kernel calls the disk and its size and serial number; else the file system's number
};
//   NotFound  PermissionDenied  Io
Result<Volume> volume_of(const std::string& path);

// The longest read that the block device below `path` takes whole when the destination is 4 KiB pages:
// queue/max_segments
// * 4096 or queue/max_sectors_kb, whichever is less; 1 MiB when the device does not say.
uint64_t device_read_bytes_max(const std::string& path);

}  // namespace spillway
