// SPDX-License-Identifier: MIT
#include "plan/homes.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.h"
#include "base/saturating_sub.h"
#include "plan/tuning.h"

namespace spillway {
namespace {

constexpr double kUploadGuessBytes_per_s = 8e9;
constexpr double kLinkGuessBytes_per_s = 110e6;  // gigabit Ethernet
constexpr double kReadBytesGuess = 512 * 1024;

uint64_t usable_bytes(const DeviceFacts& device, const MachineProfile& machine, bool is_worker) {
  const uint64_t bytes = device.memory_bytes_free > 0 ? device.memory_bytes_free : device.memory_bytes_total;
  uint64_t usable = saturating_sub(bytes, std::max(kDeviceHeadroomBytes, bytes / 32));
  if (device.shares_ram && !is_worker)
    usable = std::min(usable, static_cast<uint64_t>(kUnifiedShare * static_cast<double>(machine.ram_bytes_total)));
  return usable;
}

Home home_of(const DeviceFacts& device, const MachineProfile& machine, bool is_worker) {
  Home home{.name = device.name,
            .is_worker = is_worker,
            .shares_ram = device.shares_ram && !is_worker,
            .memory_bytes = usable_bytes(device, machine, is_worker),
            .rates = Rates(device.matmul, 0),
            .layer_start_s = kDeviceLayer_s,
            .hop_s = kHop_s,
            .upload_bytes_per_s = device.upload_bytes_per_s > 0 ? device.upload_bytes_per_s : kUploadGuessBytes_per_s};
  home.memory_bytes_per_s = home.rates.decode_bytes_per_s("f16");
  return home;
}

DiskRates disk_rates(const MachineProfile& machine, std::vector<std::string>& doubts) {
  DiskRates rates;
  if (!machine.disks.empty()) {
    const DiskFacts& disk = machine.disks.front();
    rates = {disk.sequential_bytes_per_s, disk.scattered_bytes_per_s, static_cast<double>(disk.read_bytes)};
  }
  if (rates.sequential_bytes_per_s <= 0) rates.sequential_bytes_per_s = rates.scattered_bytes_per_s;
  if (rates.sequential_bytes_per_s <= 0) {
    rates.sequential_bytes_per_s = kDiskGuessBytes_per_s;
    doubts.push_back(fmt::format("the disk was not measured: {:.1f} GB/s assumed", kDiskGuessBytes_per_s / 1e9));
  }
  if (rates.scattered_bytes_per_s <= 0) rates.scattered_bytes_per_s = rates.sequential_bytes_per_s;
  if (rates.read_bytes <= 0) rates.read_bytes = kReadBytesGuess;
  return rates;
}

}  // namespace

Homes homes_of(const MachineProfile& machine, std::optional<uint64_t> gpu_memory_bytes) {
  Homes homes;
  homes.doubts = machine.doubts;
  homes.disk = disk_rates(machine, homes.doubts);
  Home host{.name = "CPU",
            .rates = Rates(machine.matmul, machine.ram_bytes_per_s),
            .layer_s = kHostLayerCpu_s / std::max(machine.cores, 1u),
            .layer_start_s = kHostLayerStart_s,
            .hop_s = 0};
  if (!host.rates.known()) homes.doubts.push_back("the CPU was not measured: 8 GB/s of weights assumed");
  host.memory_bytes_per_s =
      machine.ram_bytes_per_s > 0 ? machine.ram_bytes_per_s : host.rates.decode_bytes_per_s("f16");
  homes.all.push_back(std::move(host));
  for (const WorkerFacts& worker : machine.workers) {
    Home home = home_of(worker.device, machine, true);
    home.name = worker.address;
    // What kind of processor it has is not known: a worker does not win by what operations cost beside their products.
    home.layer_s = homes.all.front().layer_s;
    home.layer_start_s = homes.all.front().layer_start_s;
    home.hop_s = std::max(kWorkerHopRoundTrips * worker.link_latency_s, kHop_s);
    home.upload_bytes_per_s = worker.link_bytes_per_s > 0 ? worker.link_bytes_per_s : kLinkGuessBytes_per_s;
    if (home.rates.known())
      homes.all.push_back(std::move(home));
    else
      homes.doubts.push_back(fmt::format("worker {} was not measured and is left out", worker.address));
  }
  if (gpu_memory_bytes && *gpu_memory_bytes == 0) return homes;
  for (const DeviceFacts& device : machine.devices) {
    Home home = home_of(device, machine, false);
    if (gpu_memory_bytes) home.memory_bytes = *gpu_memory_bytes;
    if (home.rates.known())
      homes.all.push_back(std::move(home));
    else
      homes.doubts.push_back(fmt::format("device {} was not measured and is left out", device.name));
  }
  return homes;
}

}  // namespace spillway
