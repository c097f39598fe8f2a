// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "base/check.h"
#include "os/cgroup.h"
#include "os/cgroup_parse.h"
#include "os/fd.h"
#include "os/file.h"

namespace spillway {
namespace {

Failure cgroup_error(const std::string& path, const char* what, int number) {
  if (number == EACCES || number == EPERM || number == EROFS)
    return error(Code::kPermissionDenied, fmt::format("{}: {}: {} (capping memory needs root or a delegated cgroup)",
                                                      path, what, std::strerror(number)));
  if (number == EBUSY) return error(Code::kOutOfBudget, fmt::format("{}: {}: in use above that", path, what));
  if (number == ESRCH) return error(Code::kNotFound, fmt::format("{}: {}: no such process", path, what));
  return error(Code::kIo, fmt::format("{}: {}: {}", path, what, std::strerror(number)));
}

// 0, or errno. The kernel takes a control file's text in one write.
int write_control(const std::string& path, const std::string& text) {
  Fd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd.valid()) return errno;
  return ::write(fd.get(), text.data(), text.size()) < 0 ? errno : 0;
}

// The v2 cgroup below which a memory cgroup can be made: our own, or its parent, since a cgroup with processes in it
// may not hand controllers on. Nothing where the hierarchy has no memory controller; `refused` is the last errno.
std::optional<std::string> v2_parent(const CgroupFolder& cgroup, int& refused) {
  std::vector<std::string> folders = cgroup.chain();
  if (folders.size() > 2) folders.resize(2);
  for (const std::string& folder : folders) {
    if (!has_word(text_or_empty(folder + "/cgroup.controllers"), "memory")) continue;
    if (has_word(text_or_empty(folder + "/cgroup.subtree_control"), "memory")) return folder;
    const int number = write_control(folder + "/cgroup.subtree_control", "+memory");
    if (number == 0) return folder;
    refused = number == EBUSY ? EPERM : number;
  }
  return std::nullopt;
}

}  // namespace

Result<MemoryCgroup> MemoryCgroup::create(const std::string& name, uint64_t limit_bytes) {
  CHECK(!name.empty() && name.find('/') == std::string::npos);
  // 1. below which cgroup? Our own, so that the limits we are under keep counting.
  std::optional<std::string> parent;
  bool v2 = false;
  int refused = 0;
  for (const CgroupFolder& cgroup :
       find_cgroups(text_or_empty("/proc/self/mountinfo"), text_or_empty("/proc/self/cgroup"), "memory")) {
    parent = cgroup.v2 ? v2_parent(cgroup, refused) : cgroup.folder;
    v2 = cgroup.v2;
    if (parent) break;
  }
  if (!parent && refused != 0) return cgroup_error("/sys/fs/cgroup", "enable the memory controller", refused);
  if (!parent) return error(Code::kUnsupported, "no cgroup hierarchy with a memory controller is mounted");

  // 2. the folder; one of the same name was left by a run that died
  const std::string folder = *parent + "/" + name;
  if (::mkdir(folder.c_str(), 0755) != 0) {
    if (errno != EEXIST) return cgroup_error(folder, "mkdir", errno);
    if (::rmdir(folder.c_str()) != 0 || ::mkdir(folder.c_str(), 0755) != 0)
      return error(Code::kIo,
                   fmt::format("{}: left by another run and still in use ({})", folder, std::strerror(errno)));
  }

  // 3. the limit; the folder goes again if it is refused
  MemoryCgroup group;
  group.folder_ = folder;
  group.procs_path_ = folder + "/cgroup.procs";
  group.v2_ = v2;
  RETURN_IF_ERROR(group.set_limit(limit_bytes));
  return group;
}

MemoryCgroup::MemoryCgroup(MemoryCgroup&& other) noexcept
    : folder_(std::exchange(other.folder_, {})), procs_path_(std::exchange(other.procs_path_, {})), v2_(other.v2_) {}

MemoryCgroup::~MemoryCgroup() {
  if (folder_.empty()) return;
  // A process that has just been waited for may count as a member for a moment longer.
  for (int i = 0; i < 100 && ::rmdir(folder_.c_str()) != 0 && errno == EBUSY; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
}

Result<void> MemoryCgroup::add(pid_t pid) const {
  const int number = write_control(procs_path_, fmt::format("{}", pid));
  if (number != 0) return cgroup_error(procs_path_, "add a process", number);
  return {};
}

Result<void> MemoryCgroup::set_limit(uint64_t bytes) const {
  const std::string text = fmt::format("{}", bytes);
  const std::string file = folder_ + (v2_ ? "/memory.max" : "/memory.limit_in_bytes");
  // Swap would let a group take more than its limit unseen. These files are missing where the kernel has no swap
  // accounting. v1 keeps limit <= memory and swap: that one goes first to raise and last to lower, so it goes twice.
  const std::string with_swap = folder_ + "/memory.memsw.limit_in_bytes";
  if (v2_)
    write_control(folder_ + "/memory.swap.max", "0");
  else
    write_control(with_swap, text);
  const int number = write_control(file, text);
  if (number != 0) return cgroup_error(file, "set the limit", number);
  if (!v2_) write_control(with_swap, text);
  return {};
}

uint64_t MemoryCgroup::usage_bytes_max() const {
  if (!v2_) return limit_value(text_or_empty(folder_ + "/memory.max_usage_in_bytes")).value_or(0);
  // memory.peak came with Linux 5.19; before it the usage of now is the best there is.
  const auto peak = limit_value(text_or_empty(folder_ + "/memory.peak"));
  return peak ? *peak : limit_value(text_or_empty(folder_ + "/memory.current")).value_or(0);
}

uint64_t MemoryCgroup::oom_kills() const {
  return keyed_value(text_or_empty(folder_ + (v2_ ? "/memory.events" : "/memory.oom_control")), "oom_kill").value_or(0);
}

}  // namespace spillway
