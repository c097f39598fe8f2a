// SPDX-License-Identifier: MIT
#include "os/cgroup_parse.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

#include "base/bytes.h"
#include "base/saturating_sub.h"

namespace spillway {
namespace {

// Splits off what stands before the first `separator`; the whole text when there is none.
std::string_view take_until(std::string_view& text, char separator) {
  const size_t end = text.find(separator);
  const std::string_view taken = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return taken;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const std::string_view part = take_until(text, separator);
    if (!part.empty()) parts.push_back(part);
  }
  return parts;
}

bool contains(const std::vector<std::string_view>& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// The kernel writes space, tab, newline and backslash in a path as \ooo.
std::string unescape(std::string_view text) {
  std::string path;
  for (size_t i = 0; i < text.size(); ++i) {
    int code = 0;
    if (text[i] == '\\' && i + 3 < text.size() &&
        std::from_chars(text.data() + i + 1, text.data() + i + 4, code, 8).ptr == text.data() + i + 4) {
      path += static_cast<char>(code);
      i += 3;
    } else {
      path += text[i];
    }
  }
  return path;
}

struct Mount {
  std::string_view major_minor;
  std::string root;  // which folder of the file system is mounted
  std::string point;
  std::string_view type;
  std::string_view source;
  std::string_view options;  // of the file system: for cgroup v1 its controllers
};

// 36 35 98:0 /root /point rw,noatime shared:1 - ext3 /dev/root rw,errors=continue
std::vector<Mount> parse_mounts(std::string_view mountinfo) {
  std::vector<Mount> mounts;
  for (std::string_view line : split(mountinfo, '\n')) {
    const std::vector<std::string_view> fields = split(line, ' ');
    const auto dash = static_cast<size_t>(std::find(fields.begin(), fields.end(), "-") - fields.begin());
    if (dash < 6 || dash + 2 >= fields.size()) continue;
    mounts.push_back({.major_minor = fields[2],
                      .root = unescape(fields[3]),
                      .point = unescape(fields[4]),
                      .type = fields[dash + 1],
                      .source = fields[dash + 2],
                      .options = dash + 3 < fields.size() ? fields[dash + 3] : std::string_view()});
  }
  return mounts;
}

// Where `path` of the hierarchy stands below a mount of its folder `root`; nothing when it lies outside.
std::optional<std::string> path_below(const std::string& root, const std::string& path) {
  if (path.starts_with("/..")) return std::nullopt;  // outside of our cgroup namespace
  if (root == "/") return path == "/" ? "" : path;
  if (path == root) return "";
  if (path.starts_with(root + "/")) return path.substr(root.size());
  return std::nullopt;
}

// The mount of one hierarchy that shows the most of the way from `path` to the root.
std::optional<CgroupFolder> place(const std::vector<Mount>& mounts, const std::string& path, bool v2) {
  const Mount* best = nullptr;
  std::optional<std::string> best_below;
  for (const Mount& mount : mounts) {
    const std::optional<std::string> below = path_below(mount.root, path);
    const bool better = best == nullptr || (below && (!best_below || mount.root.size() < best->root.size()));
    if (!better) continue;
    best = &mount;
    best_below = below;
  }
  if (best == nullptr) return std::nullopt;
  return CgroupFolder{.v2 = v2, .mount_point = best->point, .folder = best->point + best_below.value_or("")};
}

// What one cgroup says about memory; `limit` is nothing where it sets none.
struct MemoryLevel {
  std::optional<uint64_t> limit;
  uint64_t used = 0;  // without the page cache that the kernel could drop at once: clean file pages
};

std::optional<uint64_t> smaller(std::optional<uint64_t> a, std::optional<uint64_t> b) {
  if (!a || !b) return a ? a : b;
  return std::min(*a, *b);
}

uint64_t used_without_cache(uint64_t usage, const std::string& stat, std::string_view prefix,
                            std::string_view dirty_prefix) {
  const auto value = [&](std::string_view before, std::string_view key) {
    return keyed_value(stat, std::string(before) + std::string(key)).value_or(0);
  };
  const uint64_t cache = value(prefix, "inactive_file") + value(prefix, "active_file");
  const uint64_t unclean = value(dirty_prefix, "dirty") + value(dirty_prefix, "writeback");
  return saturating_sub(usage, saturating_sub(cache, unclean));
}

MemoryLevel memory_level(const TextSource& read, const std::string& folder, bool v2) {
  const std::string stat = read(folder + "/memory.stat");
  if (v2) {
    // memory.high counts: above it a process is throttled to a crawl.
    return {.limit = smaller(limit_value(read(folder + "/memory.max")), limit_value(read(folder + "/memory.high"))),
            .used = used_without_cache(limit_value(read(folder + "/memory.current")).value_or(0), stat, "", "file_")};
  }
  // hierarchical_memory_limit counts parents that a container cannot see. Usage is hierarchical too, hence total_.
  const std::optional<uint64_t> own = limit_value(read(folder + "/memory.limit_in_bytes"));
  const std::optional<uint64_t> above = keyed_value(stat, "hierarchical_memory_limit");
  return {.limit = smaller(own, above),
          .used = used_without_cache(limit_value(read(folder + "/memory.usage_in_bytes")).value_or(0), stat, "total_",
                                     "total_")};
}

// "quota period" in microseconds, as v2's cpu.max has it.
std::optional<double> cpus_of_quota(std::string_view text) {
  const std::vector<std::string_view> words = split(text.substr(0, text.find('\n')), ' ');
  if (words.size() != 2) return std::nullopt;
  const std::optional<uint64_t> quota = limit_value(words[0]);
  const std::optional<uint64_t> period = limit_value(words[1]);
  if (!quota || !period || *period == 0) return std::nullopt;
  return static_cast<double>(*quota) / static_cast<double>(*period);
}

std::string first_line(std::string_view text) { return std::string(text.substr(0, text.find('\n'))); }

}  // namespace

std::vector<std::string> CgroupFolder::chain() const {
  std::vector<std::string> folders;
  std::string at = folder;
  while (at.size() > mount_point.size()) {
    folders.push_back(at);
    at.resize(at.rfind('/'));
  }
  folders.push_back(mount_point);
  return folders;
}

std::vector<CgroupFolder> find_cgroups(std::string_view mountinfo, std::string_view self_cgroup,
                                       std::string_view controller) {
  // 1. our path in each hierarchy: "0::/path" is v2, "4:cpu,cpuacct:/path" is v1
  std::string v2_path = "/", v1_path = "/";
  for (std::string_view line : split(self_cgroup, '\n')) {
    const std::string_view number = take_until(line, ':');
    const std::string_view controllers = take_until(line, ':');
    if (number == "0" && controllers.empty()) v2_path = line;
    if (contains(split(controllers, ','), controller)) v1_path = line;
  }
  // 2. where each is mounted
  std::vector<Mount> v2_mounts, v1_mounts;
  for (Mount& mount : parse_mounts(mountinfo)) {
    if (mount.type == "cgroup2")
      v2_mounts.push_back(std::move(mount));
    else if (mount.type == "cgroup" && contains(split(mount.options, ','), controller))
      v1_mounts.push_back(std::move(mount));
  }
  // 3. the two together
  std::vector<CgroupFolder> found;
  if (auto v2 = place(v2_mounts, v2_path, true)) found.push_back(std::move(*v2));
  if (auto v1 = place(v1_mounts, v1_path, false)) found.push_back(std::move(*v1));
  return found;
}

std::optional<uint64_t> keyed_value(std::string_view text, std::string_view key) {
  for (std::string_view line : split(text, '\n')) {
    if (!line.starts_with(key)) continue;
    line.remove_prefix(key.size());
    if (line.empty() || (line[0] != ' ' && line[0] != ':' && line[0] != '\t')) continue;
    const size_t digits = line.find_first_of("0123456789");
    if (digits == std::string_view::npos) return std::nullopt;
    uint64_t value = 0;
    const auto [end, code] = std::from_chars(line.data() + digits, line.data() + line.size(), value);
    if (code != std::errc()) return std::nullopt;
    return std::string_view(end, static_cast<size_t>(line.data() + line.size() - end)) == " kB" ? value * KiB : value;
  }
  return std::nullopt;
}

std::optional<uint64_t> limit_value(std::string_view text) {
  uint64_t value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || value >= 1ull << 62) return std::nullopt;
  return value;
}

bool has_word(std::string_view text, std::string_view word) {
  return contains(split(text.substr(0, text.find('\n')), ' '), word);
}

MemoryPlaces memory_places_from(const TextSource& read) {
  MemoryPlaces places{.levels = {}, .pressure_path = "/proc/pressure/memory"};
  for (const CgroupFolder& cgroup : find_cgroups(read("/proc/self/mountinfo"), read("/proc/self/cgroup"), "memory")) {
    for (const std::string& folder : cgroup.chain())
      if (!read(folder + (cgroup.v2 ? "/memory.max" : "/memory.limit_in_bytes")).empty() ||
          !read(folder + "/memory.stat").empty())
        places.levels.push_back({.v2 = cgroup.v2, .folder = folder});
    // Where v1 has the memory controller a v2 hierarchy may still be mounted, and counts nothing.
    if (cgroup.v2 && limit_value(read(cgroup.folder + "/memory.current")))
      places.pressure_path = cgroup.folder + "/memory.pressure";
  }
  return places;
}

MemoryState memory_state_from(const TextSource& read, const MemoryPlaces& places) {
  // 1. the machine
  const std::string meminfo = read("/proc/meminfo");
  MemoryState state;
  state.total_bytes = keyed_value(meminfo, "MemTotal").value_or(0);
  state.available_bytes = keyed_value(meminfo, "MemAvailable").value_or(keyed_value(meminfo, "MemFree").value_or(0));
  state.machine_available_bytes = state.available_bytes;
  state.limit_bytes = state.total_bytes;
  // 2. every cgroup above us
  for (const MemoryPlaces::Level& place : places.levels) {
    const MemoryLevel level = memory_level(read, place.folder, place.v2);
    if (!level.limit || *level.limit >= state.total_bytes) continue;
    state.limited_by_cgroup = true;
    state.limit_bytes = std::min(state.limit_bytes, *level.limit);
    state.available_bytes = std::min(state.available_bytes, saturating_sub(*level.limit, level.used));
  }
  return state;
}

double stalled_s_from(std::string_view pressure) {
  for (std::string_view line : split(pressure, '\n')) {
    if (!line.starts_with("some ")) continue;
    const size_t at = line.find("total=");
    uint64_t stalled_us = 0;
    if (at != std::string_view::npos) std::from_chars(line.data() + at + 6, line.data() + line.size(), stalled_us);
    return static_cast<double>(stalled_us) / 1e6;
  }
  return 0;
}

MemoryPressure memory_pressure_from(const TextSource& read, const MemoryPlaces& places) {
  return {.memory = memory_state_from(read, places), .stalled_s = stalled_s_from(read(places.pressure_path))};
}

std::optional<unsigned> cpu_quota_from(const TextSource& read) {
  const std::vector<CgroupFolder> cgroups =
      find_cgroups(read("/proc/self/mountinfo"), read("/proc/self/cgroup"), "cpu");
  std::optional<double> least;
  for (const CgroupFolder& cgroup : cgroups) {
    for (const std::string& folder : cgroup.chain()) {
      const std::string text = cgroup.v2 ? read(folder + "/cpu.max")
                                         : first_line(read(folder + "/cpu.cfs_quota_us")) + " " +
                                               first_line(read(folder + "/cpu.cfs_period_us"));
      const std::optional<double> cpus = cpus_of_quota(text);
      if (cpus) least = std::min(*cpus, least.value_or(*cpus));
    }
  }
  if (!least) return std::nullopt;
  // Up: one thread of 1.5 CPUs' worth would leave a third of it unused, two are throttled together.
  return static_cast<unsigned>(std::max(1.0, std::ceil(std::min(*least, 1e6))));
}

std::string mount_source(std::string_view mountinfo, std::string_view major_minor) {
  for (const Mount& mount : parse_mounts(mountinfo))
    if (mount.major_minor == major_minor && mount.source.starts_with("/dev/")) return unescape(mount.source);
  return {};
}

}  // namespace spillway
