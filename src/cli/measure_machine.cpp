// SPDX-License-Identifier: MIT
#include "cli/measure_machine.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/bytes.h"
#include "base/clock.h"
#include "cli/interrupt.h"
#include "cli/probe_child.h"
#include "hw/disk_survey.h"
#include "hw/ram_probe.h"
#include "os/machine.h"

namespace spillway {
namespace {

// What the parts take on an ordinary machine, in seconds: for the bar, and to share time out among devices.
constexpr double kDisk_s = 2, kRam_s = 1, kCpu_s = 5, kStartChild_s = 1.5, kPerDevice_s = 4;

constexpr size_t kDevicesAllMeasured = 2;  // of more, those that look the same are measured once

// A worker that is silent is given up soon: its user waits for an error.
constexpr double kPerWorker_s = 3, kPatience_s = 3;

// A disk is slower than memory by more than this; else a cache answered.
constexpr double kDiskOfRamMax = 0.5;

// With 130 MiB the kernel ended us, with 150 it did not.
constexpr uint64_t kMemoryBytesMin = 192 * MiB;

// One stage's share of the whole bar.
MeasureProgress part_of(const MeasureProgress& progress, double begin, double end, const std::string& stage) {
  return [=](double fraction, const std::string& what) {
    const std::string note = what.empty() ? stage : stage + ", " + what;
    return !interrupted() && (!progress || progress(begin + (end - begin) * std::clamp(fraction, 0.0, 1.0), note));
  };
}

void append(std::vector<std::string>& to, const std::vector<std::string>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

Result<void> measure_disk_into(MachineProfile& profile, const DiskSubject& disk, const MeasureProgress& progress) {
  if (disk.files.empty()) {
    profile.doubts.push_back(fmt::format("disk: not measured: {}", disk.why_none));
    return {};
  }
  std::vector<const File*> files;
  for (const auto& file : disk.files) files.push_back(file.get());
  DiskSurveyOptions options;
  options.seed = static_cast<uint64_t>(monotonic_s() * 1e6);
  options.progress = [&](double fraction) { return progress(fraction, disk.volume.mount_point); };
  auto survey = survey_disk(files, options);
  if (!survey && survey.error().code() == Code::kCancelled) return Failure(survey.error());
  if (!survey) {
    profile.doubts.push_back(fmt::format("disk: not measured: {}", survey.error().message()));
    return {};
  }
  survey->facts.volume = disk.volume.mount_point;
  profile.disks.push_back(survey->facts);
  append(profile.doubts, survey->doubts);
  return {};
}

// For each device the one that is measured in its stead: itself, or where there are many, the first that looks the
// same. Eight equal cards would take a minute to start eight times.
std::vector<size_t> stand_ins(const std::vector<DeviceFacts>& devices) {
  const auto look_the_same = [](const DeviceFacts& a, const DeviceFacts& b) {
    return a.backend == b.backend && a.description == b.description && a.memory_bytes_total == b.memory_bytes_total;
  };
  std::vector<size_t> stands_in;
  for (size_t i = 0; i < devices.size(); ++i) {
    size_t first = 0;
    while (!look_the_same(devices[first], devices[i])) ++first;
    stands_in.push_back(devices.size() > kDevicesAllMeasured ? first : i);
  }
  return stands_in;
}

size_t n_apart(const std::vector<size_t>& stands_in) {
  return std::set<size_t>(stands_in.begin(), stands_in.end()).size();
}

// Of `left_s`, what devices leave, but what an ordinary machine takes.
double cpu_time_s(double left_s, const std::vector<DeviceFacts>& devices) {
  const double for_devices_s = static_cast<double>(n_apart(stand_ins(devices))) * (kStartChild_s + kPerDevice_s);
  return std::min(left_s, std::max(left_s - for_devices_s, kCpu_s));
}

Result<void> measure_devices_into(MachineProfile& profile, const std::vector<DeviceFacts>& devices, double time_s,
                                  const MeasureProgress& progress) {
  const Stopwatch watch;
  const std::vector<size_t> stands_in = stand_ins(devices);
  size_t n_left = n_apart(stands_in);
  for (size_t i = 0; i < devices.size(); ++i) {
    const DeviceFacts& device = devices[i];
    if (stands_in[i] != i) {
      DeviceFacts copy = profile.devices[stands_in[i]];
      copy.name = device.name;
      copy.memory_bytes_free = device.memory_bytes_free;
      profile.doubts.push_back(
          fmt::format("{}: taken to be as fast as {}, which looks the same", copy.name, devices[stands_in[i]].name));
      profile.devices.push_back(std::move(copy));
      continue;
    }
    const auto leave_out = [&](const std::string& why) {
      profile.doubts.push_back(fmt::format("{}: not measured: {}", device.name, why));
      profile.devices.push_back(device);
    };
    const double left_s = (time_s - watch.elapsed_s()) / static_cast<double>(n_left--);
    if (left_s < kStartChild_s) {
      leave_out("no time was left");
      continue;
    }
    const ProbeTime time{.measure_s = std::clamp(left_s - kStartChild_s, 0.5, kPerDevice_s), .limit_s = left_s};
    const Stopwatch device_watch;
    const auto on_tick = [&] {
      const double done = std::min(device_watch.elapsed_s() / (time.measure_s + kStartChild_s), 1.0);
      progress((static_cast<double>(i) + done) / static_cast<double>(devices.size()), device.name);
    };
    auto figures = measure_device_apart(device.name, time, on_tick);
    if (!figures && figures.error().code() == Code::kCancelled) return Failure(figures.error());
    if (!figures) {
      leave_out(figures.error().message());
      continue;
    }
    profile.devices.push_back(std::move(figures->facts));
    append(profile.doubts, figures->doubts);
  }
  return {};
}

}  // namespace

Result<std::vector<WorkerFacts>> measure_workers(const std::vector<std::string>& addresses, double time_s,
                                                 std::vector<std::string>& doubts, const MeasureProgress& progress) {
  const MeasureProgress part = part_of(progress, 0, 1, "workers");
  std::vector<WorkerFacts> workers;
  const Stopwatch watch;
  for (size_t i = 0; i < addresses.size(); ++i) {
    const double left_s = (time_s - watch.elapsed_s()) / static_cast<double>(addresses.size() - i);
    const double measure_s = std::clamp(left_s - kPatience_s, 0.5, kPerWorker_s);
    const ProbeTime time{.measure_s = measure_s, .limit_s = measure_s + kPatience_s};
    const Stopwatch worker_watch;
    const auto on_tick = [&] {
      const double done = std::min(worker_watch.elapsed_s() / (time.measure_s + kStartChild_s), 1.0);
      part((static_cast<double>(i) + done) / static_cast<double>(addresses.size()), addresses[i]);
    };
    ASSIGN_OR_RETURN(WorkerFigures figures, measure_worker_apart(addresses[i], time, on_tick));
    for (WorkerFacts& worker : figures.workers) workers.push_back(std::move(worker));
    append(doubts, figures.doubts);
  }
  return workers;
}

Result<MachineProfile> measure_machine(const MachineIdentity& identity, const DiskSubject& disk,
                                       const std::vector<DeviceFacts>& devices, double time_s,
                                       const MeasureProgress& progress) {
  if (const uint64_t bytes = memory_state().available_bytes; bytes < kMemoryBytesMin)
    return error(Code::kOutOfBudget, fmt::format("measuring this machine takes {} of memory, and {} are free",
                                                 format_bytes(kMemoryBytesMin), format_bytes(bytes)));
  const Stopwatch watch;
  MachineProfile profile;
  profile.name = "this machine";
  profile.source = "measured";
  profile.fingerprint = fingerprint_of(identity);
  profile.cpu = identity.cpu;
  profile.cores = identity.n_threads;
  profile.ram_bytes_total = identity.ram_bytes;

  const double devices_s = devices.empty() ? 0 : std::max(time_s - kDisk_s - kRam_s - kCpu_s, 2.0);
  const double total_s = kDisk_s + kRam_s + kCpu_s + devices_s;
  double at = 0;
  const auto next_part = [&](double seconds, const char* stage) {
    const double begin = at;
    at += seconds / total_s;
    return part_of(progress, begin, at, stage);
  };

  // The disk first: the processor makes a machine hot, and a hot machine may slow everything down.
  RETURN_IF_ERROR(measure_disk_into(profile, disk, next_part(kDisk_s, "disk")));
  const MeasureProgress ram_part = next_part(kRam_s, "memory");
  if (!ram_part(0, "")) return error(Code::kCancelled, "measuring was stopped");
  if (const auto ram = measure_ram({.n_threads = identity.n_threads})) {
    profile.ram_bytes_per_s = ram->ram_bytes_per_s;
    append(profile.doubts, ram->doubts);
  } else {
    profile.doubts.push_back(fmt::format("memory: not measured: {}", ram.error().message()));
  }
  const double cpu_s = cpu_time_s(time_s - watch.elapsed_s(), devices);
  ASSIGN_OR_RETURN(CpuFigures cpu, measure_cpu(identity.n_threads, cpu_s, next_part(kCpu_s, "processor")));
  profile.matmul = std::move(cpu.matmul);
  append(profile.doubts, cpu.doubts);
  RETURN_IF_ERROR(measure_devices_into(profile, devices, time_s - watch.elapsed_s(), next_part(devices_s, "device")));

  for (const DiskFacts& facts : profile.disks)
    if (profile.ram_bytes_per_s > 0 &&
        std::max(facts.scattered_bytes_per_s, facts.sequential_bytes_per_s) > kDiskOfRamMax * profile.ram_bytes_per_s)
      profile.doubts.push_back(
          "disk: nearly as fast as memory, so a cache (of a host or a controller) may have answered");
  return profile;
}

}  // namespace spillway
