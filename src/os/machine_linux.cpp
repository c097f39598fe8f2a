// SPDX-License-Identifier: MIT
#include <fmt/format.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <system_error>
#include <vector>

#include "base/bytes.h"
#include "os/cgroup_parse.h"
#include "os/file.h"
#include "os/folder.h"
#include "os/home_folder.h"
#include "os/machine.h"
#include "os/thread_limit.h"

namespace spillway {
namespace {

// CPUs in the calling thread's affinity mask; 0 when the kernel does not say.
unsigned affinity_cpus() {
  // The kernel refuses a mask that is shorter than its own (EINVAL): double it.
  for (size_t sets = 1; sets <= 64; sets *= 2) {
    std::vector<cpu_set_t> mask(sets);
    const size_t bytes = sets * sizeof(cpu_set_t);
    if (::sched_getaffinity(0, bytes, mask.data()) == 0) return static_cast<unsigned>(CPU_COUNT_S(bytes, mask.data()));
    if (errno != EINVAL) break;
  }
  return 0;
}

double seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

// The folder in /sys of the whole device that holds a file of device `id`; empty when it is no block device.
std::string device_folder(dev_t id) {
  std::string numbers = fmt::format("{}:{}", major(id), minor(id));
  std::error_code ec;
  if (!std::filesystem::exists("/sys/dev/block/" + numbers, ec)) {
    const std::string source = mount_source(text_or_empty("/proc/self/mountinfo"), numbers);
    struct stat st {};
    if (source.empty() || ::stat(source.c_str(), &st) != 0) return {};
    numbers = fmt::format("{}:{}", major(st.st_rdev), minor(st.st_rdev));
  }
  const std::filesystem::path folder = std::filesystem::canonical("/sys/dev/block/" + numbers, ec);
  if (ec) return {};
  return std::filesystem::exists(folder / "partition", ec) ? folder.parent_path() : folder;
}

// The text of a file of one line.
std::string line_of(const std::string& path) {
  std::string text = text_or_empty(path);
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

// "32768K", as /sys says it.
uint64_t cache_size(const std::string& text) { return parse_bytes(text).value_or(0); }

}  // namespace

unsigned usable_cpus() {
  const unsigned cpus = std::clamp(affinity_cpus(), 1u, kThreadsMax);
  return std::min(cpus, cpu_quota_from(text_or_empty).value_or(cpus));
}

std::string cpu_name() {
  const std::string info = text_or_empty("/proc/cpuinfo");
  for (const std::string_view key : {"model name", "Model", "cpu model", "cpu"}) {
    for (size_t at = 0; at < info.size(); at = info.find('\n', at) + 1) {
      const std::string_view line = std::string_view(info).substr(at, info.find('\n', at) - at);
      const size_t colon = line.find(": ");
      if (line.starts_with(key) && colon != std::string_view::npos) return std::string(line.substr(colon + 2));
      if (info.find('\n', at) == std::string::npos) break;
    }
  }
  utsname system{};
  return ::uname(&system) == 0 ? system.machine : "";
}

uint64_t last_level_cache_bytes() {
  // Two CPUs that share a cache name the same list of CPUs in it.
  std::map<std::string, uint64_t> bytes_by_cpus;
  int level_max = 0;
  for (const auto& cpu : folder_entries("/sys/devices/system/cpu")) {
    for (int index = 0; index < 8; ++index) {
      const std::string folder = fmt::format("{}/cache/index{}", cpu.path().string(), index);
      const auto level = static_cast<int>(limit_value(text_or_empty(folder + "/level")).value_or(0));
      if (level == 0) break;
      if (level > level_max) bytes_by_cpus.clear();
      level_max = std::max(level, level_max);
      if (level == level_max && line_of(folder + "/type") != "Instruction")
        bytes_by_cpus[line_of(folder + "/shared_cpu_list")] = cache_size(line_of(folder + "/size"));
    }
  }
  uint64_t bytes = 0;
  for (const auto& [cpus, cache_bytes] : bytes_by_cpus) bytes += cache_bytes;
  return bytes;
}

MemoryState memory_state() { return memory_state_from(text_or_empty, memory_places_from(text_or_empty)); }

ProcessUsage process_usage() {
  const std::string status = text_or_empty("/proc/self/status");
  const auto value = [&status](const char* key) { return keyed_value(status, key).value_or(0); };
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return {.rss_bytes = value("VmRSS"),
          .rss_anon_bytes = value("RssAnon"),
          .rss_bytes_max = value("VmHWM"),
          .data_bytes = value("VmData"),
          .major_faults = static_cast<uint64_t>(usage.ru_majflt),
          .minor_faults = static_cast<uint64_t>(usage.ru_minflt),
          .user_cpu_s = seconds(usage.ru_utime),
          .system_cpu_s = seconds(usage.ru_stime)};
}

double thread_cpu_s() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

void name_thread(const char* name) { ::pthread_setname_np(::pthread_self(), std::string(name).substr(0, 15).c_str()); }

std::string cache_folder() {
  if (std::string own = environment("SPILLWAY_CACHE_DIR"); !own.empty()) return own;
  if (std::string caches = environment("XDG_CACHE_HOME"); !caches.empty()) return caches + "/spillway";
  if (const std::string home = home_folder(); !home.empty()) return home + "/.cache/spillway";
  return {};
}

Result<Volume> volume_of(const std::string& path) {
  std::error_code ec;
  std::filesystem::path place = std::filesystem::canonical(path, ec);
  struct stat st {};
  if (ec || ::stat(place.c_str(), &st) != 0) {
    const int number = ec ? ec.value() : errno;
    const Code code = number == ENOENT ? Code::kNotFound : number == EACCES ? Code::kPermissionDenied : Code::kIo;
    return error(code, fmt::format("{}: {}", path, std::strerror(number)));
  }
  if (!S_ISDIR(st.st_mode)) place = place.parent_path();
  for (struct stat above{}; place.has_relative_path(); place = place.parent_path())
    if (::stat(place.parent_path().c_str(), &above) != 0 || above.st_dev != st.st_dev) break;

  const std::filesystem::path device = device_folder(st.st_dev);
  if (device.empty()) return Volume{place, fmt::format("file system {}:{}", major(st.st_dev), minor(st.st_dev))};
  std::string disk = device.filename();
  for (const char* fact : {"size", "serial", "device/model", "device/serial", "wwid"})
    if (const std::string text = line_of(device / fact); !text.empty()) disk += " " + text;
  return Volume{place, disk};
}

uint64_t device_read_bytes_max(const std::string& path) {
  constexpr uint64_t kUnknown = MiB;
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0) return kUnknown;
  const std::string folder = device_folder(st.st_dev);
  if (folder.empty()) return kUnknown;
  const std::optional<uint64_t> segments = limit_value(text_or_empty(folder + "/queue/max_segments"));
  if (!segments || *segments == 0) return kUnknown;
  uint64_t bytes = *segments * kPageBytes;
  const std::optional<uint64_t> kilobytes = limit_value(text_or_empty(folder + "/queue/max_sectors_kb"));
  if (kilobytes) bytes = std::min(bytes, round_down(*kilobytes * KiB, kPageBytes));
  return std::max(bytes, kPageBytes);
}

}  // namespace spillway
