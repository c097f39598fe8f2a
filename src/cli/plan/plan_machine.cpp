// SPDX-License-Identifier: MIT
#include "cli/plan/plan_machine.h"

#include <filesystem>
#include <random>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "cli/current_profile.h"
#include "engine/auto_plan.h"
#include "hw/disk_survey.h"
#include "hw/probe_files.h"
#include "hw/profile_json.h"
#include "hw/shipped_profiles.h"
#include "os/folder.h"
#include "os/machine.h"
#include "plan/model_facts.h"
#include "probe/quick_probe.h"

namespace spillway {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kProbeBytesEnough = 4 * GiB;
// Of ten: half a second in all.
constexpr double kTry_s = 0.05;

std::string existing_part(const std::string& path) {
  std::error_code ec;
  fs::path part = fs::path(absolute_path(path)).lexically_normal();
  while (!fs::exists(part, ec) && part.has_relative_path()) part = part.parent_path();
  return part.string();
}

bool is_on_this_machine(const GgufModel& model) { return largest_file(model).map_fd() >= 0; }

}  // namespace

Result<PlanMachine> PlanMachine::open(const std::string& profile, const std::string& place) {
  PlanMachine machine;
  std::error_code ec;
  machine.place_ = existing_part(place);
  machine.place_is_there_ = machine.place_ == fs::path(absolute_path(place)).lexically_normal();
  machine.is_this_ = profile.empty();
  if (profile.empty()) {
    machine.kept_ = kept_profile_for(machine.place_);
  } else if (fs::exists(profile, ec)) {
    ASSIGN_OR_RETURN(machine.kept_, read_profile(profile));
  } else {
    ASSIGN_OR_RETURN(machine.kept_, shipped_profile(profile));
  }
  return machine;
}

Result<Kernels> PlanMachine::kernels_for_load(const GgufModel& model, const LoadOptions& load) const {
  if (is_this_) return kernels_for(model, load);
  return choose_kernels({.wanted = load.kernels,
                         .weight_bytes = model.weight_bytes(),
                         .memory_bytes = load.ram_bytes > 0 ? load.ram_bytes : kept_->ram_bytes_total,
                         .n_cores = kept_->cores,
                         .in_page_cache = load.mode == Mode::kMmap});
}

MachineProfile PlanMachine::for_model(const GgufModel& model, const PlanRequest& request) {
  if (!is_this_) return *kept_;
  ComputeProbe probe = compute_probe_of(model, usable_cpus(), memory_state().available_bytes);
  if (spares_memory_) probe.weights_bytes = 0;
  probe.repacked = request.kernels == Kernels::kRepacked;
  if (!kept_) return measured_for(model, probe);
  // A profile is of weights as files have them.
  return probe.repacked ? machine_of(*kept_, 0, {.compute = compute_rate(probe)}, model) : *kept_;
}

// Without a kept profile: what can be measured at once, as a load does too. Devices are named and left out.
MachineProfile PlanMachine::measured_for(const GgufModel& model, const ComputeProbe& probe) {
  QuickFigures figures{.compute = compute_rate(probe)};
  const std::optional<DiskFacts> disk = disk_of(model);
  if (disk) {
    figures.disk_bytes_per_s = disk->scattered_bytes_per_s;
    figures.read_bytes = disk->read_bytes;
    figures.depth = disk->depth;
  }
  MachineProfile machine = machine_of(std::nullopt, 0, figures, model);
  if (disk && !machine.disks.empty()) machine.disks.front().volume = disk->volume;
  for (const std::string& name : device_names()) machine.devices.emplace_back().name = name;
  return machine;
}

const MatmulRate& PlanMachine::compute_rate(const ComputeProbe& probe) {
  const std::tuple key(probe.type, probe.has_experts, probe.repacked);
  const auto known = rates_.find(key);
  return known != rates_.end() ? known->second : rates_.emplace(key, measure_compute(probe)).first->second;
}

// On the model's own file, or on what else the disk has that it is going to.
std::optional<DiskFacts> PlanMachine::disk_of(const GgufModel& model) {
  const auto facts_of = [&model](const File& file) -> std::optional<DiskFacts> {
    const auto profile = probe_file_disk(file, typical_matrix_bytes(model));
    if (!profile) return std::nullopt;
    return DiskFacts{.volume = file.path(),
                     .sequential_bytes_per_s = profile->disk_bytes_per_s,
                     .scattered_bytes_per_s = profile->disk_bytes_per_s,
                     .read_bytes = profile->read_bytes,
                     .depth = profile->depth,
                     .direct = profile->direct};
  };
  if (is_on_this_machine(model)) return facts_of(largest_file(model));
  if (disk_) return *disk_;
  disk_ = std::optional<DiskFacts>();
  const auto volume = volume_of(place_);
  if (!volume) return std::nullopt;
  std::vector<std::string> own;  // not all that is above it
  if (place_is_there_) own.push_back(place_);
  for (const auto& folders : {own, model_folders(), library_folders()}) {
    const auto found = find_probe_files(folders, kSurveyBytesMin, kProbeBytesEnough, *volume);
    if (!found) continue;
    DiskSurveyOptions options;
    options.try_s = kTry_s;
    options.seed = std::random_device()();
    std::vector<const File*> files;
    for (const auto& file : found->files) files.push_back(file.get());
    auto survey = survey_disk(files, options);
    if (!survey) continue;
    survey->facts.volume = volume->mount_point;
    disk_ = std::move(survey->facts);
    break;
  }
  return *disk_;
}

}  // namespace spillway
