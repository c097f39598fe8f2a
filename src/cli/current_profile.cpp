// SPDX-License-Identifier: MIT
#include "cli/current_profile.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <optional>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/notice.h"
#include "cli/measure_machine.h"
#include "cli/unwritten_profiles.h"
#include "hw/disk_survey.h"
#include "hw/probe_files.h"
#include "hw/profile_store.h"
#include "model/gguf_model.h"
#include "os/folder.h"
#include "os/machine.h"
#include "probe/device_probe.h"

namespace spillway {
namespace {

// A second less than promised: files are looked for, backends loaded, processes ended.
constexpr double kTime_s = 18;
constexpr double kWorkersShare = 0.4;
constexpr uint64_t kBytesEnough = 4 * GiB;

uint64_t total_bytes(const std::vector<std::unique_ptr<File>>& files) {
  uint64_t bytes = 0;
  for (const auto& file : files) bytes += file->size_bytes();
  return bytes;
}

// The model's own files; where they are too small, others on the same volume.
Result<DiskSubject> subject_of_model(const std::string& path) {
  DiskSubject subject;
  ASSIGN_OR_RETURN(GgufModel model, open_gguf_model(path));
  ASSIGN_OR_RETURN(subject.volume, volume_of(path));
  subject.files = std::move(model.files);
  if (total_bytes(subject.files) >= kSurveyBytesMin) return subject;
  subject.files.clear();
  std::vector<std::string> folders = {std::filesystem::path(absolute_path(path)).parent_path()};
  for (const auto& more : {model_folders(), library_folders()}) folders.insert(folders.end(), more.begin(), more.end());
  auto found = find_probe_files(folders, kSurveyBytesMin, kBytesEnough, subject.volume);
  if (found)
    subject.files = std::move(found->files);
  else
    subject.why_none = fmt::format("{} is too small, and other large files were not found beside it", path);
  return subject;
}

// Where models are, else where programs are.
DiskSubject subject_of_habit() {
  std::vector<std::string> models = model_folders();
  // Not all of a home folder: it may be large, and on a network.
  const auto here = folder_entries(".");
  if (std::any_of(here.begin(), here.end(), [](const auto& entry) { return entry.path().extension() == ".gguf"; }))
    models.emplace_back(".");
  DiskSubject subject;
  for (const auto& folders : {models, library_folders()}) {
    auto found = find_probe_files(folders, kSurveyBytesMin, kBytesEnough);
    if (found) return {.volume = found->volume, .files = std::move(found->files), .why_none = {}};
    subject.why_none = found.error().message();
  }
  return subject;
}

// What devices have free changes all the time; the rest of them does not.
void refresh_free_memory(std::vector<DeviceFacts>& devices, const std::vector<DeviceFacts>& now) {
  for (DeviceFacts& device : devices)
    for (const DeviceFacts& same : now)
      if (same.name == device.name) {
        device.memory_bytes_total = same.memory_bytes_total;
        device.memory_bytes_free = same.memory_bytes_free;
      }
}

UnwrittenProfiles& unwritten() {
  static UnwrittenProfiles profiles;
  return profiles;
}

std::optional<MachineProfile> kept_profile(const MachineIdentity& identity) {
  auto kept = load_profile(identity, unix_s());
  if (kept) return *std::move(kept);
  if (auto known = unwritten().find(identity, unix_s())) return known;
  if (kept.error().code() != Code::kNotFound) notice(kept.error().message() + "; measuring again");
  return std::nullopt;
}

// Where it is kept now; empty: by this process alone.
std::string keep_profile(const MachineIdentity& identity, const MachineProfile& profile) {
  const auto saved = save_profile(identity, profile);
  if (!saved) notice(fmt::format("the machine profile could not be kept: {}", saved.error().message()));
  std::string path = saved ? profile_path(identity) : "";
  if (path.empty()) unwritten().keep(identity, profile);
  return path;
}

bool is_of(const WorkerFacts& worker, const std::string& address) { return worker.address == address; }

// Of all workers that were ever measured, those that are to compute now.
void keep_only_workers(MachineProfile& profile, const std::vector<std::string>& addresses) {
  const auto is_wanted = [&](const WorkerFacts& worker) {
    return std::find(addresses.begin(), addresses.end(), worker.address) != addresses.end();
  };
  for (const WorkerFacts& worker : profile.workers)
    if (!is_wanted(worker))
      std::erase_if(profile.doubts, [&](const std::string& doubt) { return doubt.starts_with(worker.address + ", "); });
  std::erase_if(profile.workers, [&](const WorkerFacts& worker) { return !is_wanted(worker); });
}

MachineIdentity identity_of(const GgmlInventory& ggml, const Volume& volume, unsigned n_threads) {
  MachineIdentity identity;
  identity.cpu = cpu_name();
  identity.n_threads = n_threads > 0 ? n_threads : usable_cpus();
  identity.ram_bytes = memory_state().total_bytes;
  if (!volume.mount_point.empty()) identity.disk = volume.mount_point + " " + volume.disk;
  identity.ggml = ggml.version;
  for (const DeviceFacts& device : ggml.devices)
    identity.devices.push_back(fmt::format("{} {}", device.name, device.description));
  return identity;
}

}  // namespace

std::optional<MachineProfile> kept_profile_for(const std::string& model) {
  const auto ggml = ggml_inventory();
  const auto volume = volume_of(model);
  if (!ggml || !volume) return std::nullopt;
  const MachineIdentity identity = identity_of(*ggml, *volume, 0);
  std::optional<MachineProfile> kept;
  if (auto written = load_profile(identity, unix_s()))
    kept = *std::move(written);
  else
    kept = unwritten().find(identity, unix_s());
  if (!kept) return std::nullopt;
  keep_only_workers(*kept, {});
  refresh_free_memory(kept->devices, ggml->devices);
  return kept;
}

Result<CurrentProfile> current_profile(const ProfileRequest& request) {
  const Stopwatch watch;
  // 1. Which machine is this?
  ASSIGN_OR_RETURN(const GgmlInventory ggml, ggml_inventory());
  DiskSubject disk;
  if (request.model.empty()) {
    disk = subject_of_habit();
  } else {
    ASSIGN_OR_RETURN(disk, subject_of_model(request.model));
  }
  const MachineIdentity identity = identity_of(ggml, disk.volume, request.n_threads);

  CurrentProfile current;
  current.path = profile_path(identity);
  std::optional<MachineProfile> kept = request.refresh ? std::nullopt : kept_profile(identity);

  // A disk that could not be measured then may be now.
  if (kept && kept->disks.empty() && !disk.files.empty()) kept.reset();

  // 2. Workers first: an address that nobody answers at is said at once.
  std::vector<std::string> unknown;
  for (const std::string& address : request.workers) {
    const bool known = kept && std::any_of(kept->workers.begin(), kept->workers.end(),
                                           [&](const WorkerFacts& worker) { return is_of(worker, address); });
    if (!known && std::find(unknown.begin(), unknown.end(), address) == unknown.end()) unknown.push_back(address);
  }
  const double workers_share = kept ? 1 : unknown.empty() ? 0 : kWorkersShare;
  const auto progress = [&](double begin, double end) -> MeasureProgress {
    if (!request.progress) return {};
    return [&, begin, end](double fraction, const std::string& stage) {
      return request.progress(begin + (end - begin) * fraction, stage);
    };
  };
  std::vector<std::string> worker_doubts;
  ASSIGN_OR_RETURN(std::vector<WorkerFacts> workers,
                   measure_workers(unknown, kTime_s * std::max(workers_share, kWorkersShare), worker_doubts,
                                   progress(0, workers_share)));

  // 3. The machine itself, unless that is known.
  if (kept) {
    current.profile = *std::move(kept);
  } else {
    ASSIGN_OR_RETURN(current.profile, measure_machine(identity, disk, ggml.devices, kTime_s - watch.elapsed_s(),
                                                      progress(workers_share, 1)));
    current.profile.measured_unix_s = unix_s();
    current.measured_now = true;
  }
  MachineProfile& profile = current.profile;
  profile.workers.insert(profile.workers.end(), workers.begin(), workers.end());
  profile.doubts.insert(profile.doubts.end(), worker_doubts.begin(), worker_doubts.end());
  if (current.measured_now || !workers.empty()) current.path = keep_profile(identity, profile);

  // 4. As asked for, and as of now.
  keep_only_workers(profile, request.workers);
  refresh_free_memory(profile.devices, ggml.devices);
  return current;
}

}  // namespace spillway
