// SPDX-License-Identifier: MIT
#include "cli/profile_table.h"

#include <fmt/format.h>

#include "base/bytes.h"
#include "cli/report_text.h"
#include "hw/profile_store.h"

namespace spillway {
namespace {

constexpr int64_t kDay_s = int64_t{24} * 3600;

std::string rate(double bytes_per_s) {
  return bytes_per_s > 0 ? format_bytes(static_cast<uint64_t>(bytes_per_s)) + "/s" : "-";
}

std::string flops(double per_s) {
  if (per_s <= 0) return "-";
  return per_s >= 1e12 ? fmt::format("{:.2f} TFLOP/s", per_s / 1e12) : fmt::format("{:.1f} GFLOP/s", per_s / 1e9);
}

std::string when_text(const CurrentProfile& current, int64_t now_unix_s) {
  const std::string date = date_of(current.profile.measured_unix_s);
  if (current.measured_now)
    return current.path.empty() ? date + ", not kept" : fmt::format("{}, kept for 30 days in {}", date, current.path);
  const int64_t days = (now_unix_s - current.profile.measured_unix_s) / kDay_s;
  return fmt::format("{} ({}) on this same machine; --refresh measures again", date,
                     days <= 0   ? "today"
                     : days == 1 ? "a day ago"
                                 : fmt::format("{} days ago", days));
}

std::string disk_text(const DiskFacts& disk) {
  return fmt::format("{}: sequential {}, scattered {} (reads of {}, {} in flight, {})", disk.volume,
                     rate(disk.sequential_bytes_per_s), rate(disk.scattered_bytes_per_s), format_bytes(disk.read_bytes),
                     disk.depth, disk.direct ? "direct" : "through the page cache");
}

// The rates of everything that computes, one below the other under one heading.
class RateLines {
 public:
  void add(const std::string& who, const std::vector<MatmulRate>& rates) {
    if (rates.empty()) return;
    if (text_.empty())
      text_ =
          fmt::format("\n{:<10} {:>14} {:>16} {:>16} {:>16}\n", "", "decoding", "prompts", "to experts", "repacking");
    text_ += who + "\n";
    for (const MatmulRate& type : rates)
      text_ += fmt::format("  {:<8} {:>14} {:>16} {:>16} {:>16}\n", type.type, rate(type.decode_bytes_per_s),
                           flops(type.prefill_flops_per_s), flops(type.expert_prefill_flops_per_s),
                           rate(type.repack_bytes_per_s));
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

std::string device_text(const DeviceFacts& device) {
  return fmt::format("{} ({}), {}{}, {} free", device.description, device.backend,
                     format_bytes(device.memory_bytes_total), device.shares_ram ? " of the machine's memory" : "",
                     format_bytes(device.memory_bytes_free));
}

std::string worker_text(const WorkerFacts& worker) {
  DeviceFacts device = worker.device;
  device.description = device.name;  // what ggml calls its description is the address again
  return fmt::format("{}: {}, link {}, {:.2f} ms", worker.address, device_text(device), rate(worker.link_bytes_per_s),
                     worker.link_latency_s * 1e3);
}

}  // namespace

std::string profile_table(const CurrentProfile& current, int64_t now_unix_s) {
  const MachineProfile& profile = current.profile;
  std::string table = row("machine", fmt::format("{}, {} threads, {} of memory", profile.cpu, profile.cores,
                                                 format_bytes(profile.ram_bytes_total)));
  table += row("measured", when_text(current, now_unix_s));
  table +=
      row("memory", profile.ram_bytes_per_s > 0 ? rate(profile.ram_bytes_per_s) + ", reading with all threads" : "-");
  for (const DiskFacts& disk : profile.disks) table += row("disk", disk_text(disk));
  if (profile.disks.empty()) table += row("disk", "-");
  for (const DeviceFacts& device : profile.devices)
    table += row(device.name, fmt::format("{}, upload {}", device_text(device), rate(device.upload_bytes_per_s)));
  for (const WorkerFacts& worker : profile.workers) table += row("worker", worker_text(worker));

  RateLines rates;
  rates.add("processor", profile.matmul);
  for (const DeviceFacts& device : profile.devices) rates.add(device.name, device.matmul);
  for (const WorkerFacts& worker : profile.workers) rates.add(worker.address, worker.device.matmul);
  table += rates.text();

  table += "\n";
  for (const std::string& doubt : profile.doubts) table += row("doubt", doubt);
  if (profile.doubts.empty()) table += row("doubt", "none: what was measured twice agrees");
  table.pop_back();
  return table;
}

}  // namespace spillway
