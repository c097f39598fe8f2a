// SPDX-License-Identifier: MIT
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <exception>
#include <latch>
#include <thread>
#include <vector>

#include "os/file.h"
#include "os/task_limit.h"

namespace spillway {

uint64_t tasks_max() {
  rlimit limit{};
  const bool known = ::getrlimit(RLIMIT_NPROC, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
  return tasks_max_from(text_or_empty, known ? limit.rlim_cur : UINT64_MAX);
}

Result<void> try_threads(unsigned n) {
  std::latch tried(1);
  std::vector<std::jthread> threads;  // ends before the latch
  threads.reserve(n);
  try {
    while (threads.size() < n) threads.emplace_back([&tried] { tried.wait(); });
  } catch (const std::exception&) {
  }
  tried.count_down();  // whatever comes: who is there waits for it
  if (threads.size() == n) return {};
  return error(Code::kBusy, fmt::format("the system gives {} more threads here, and {} are needed (is there a limit, "
                                        "such as ulimit -u, ulimit -v or a container's?)",
                                        threads.size(), n));
}

uint64_t tasks_max_from(const TextSource& read, uint64_t process_limit) {
  uint64_t least = process_limit;
  for (const CgroupFolder& cgroup : find_cgroups(read("/proc/self/mountinfo"), read("/proc/self/cgroup"), "pids"))
    for (const std::string& folder : cgroup.chain())
      least = std::min(least, limit_value(read(folder + "/pids.max")).value_or(UINT64_MAX));
  return least;
}

}  // namespace spillway
