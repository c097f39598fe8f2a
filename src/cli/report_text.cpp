// SPDX-License-Identifier: MIT
#include "cli/report_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/bytes.h"
#include "hw/profile_store.h"
#include "plan/model_facts.h"

namespace spillway {
namespace {

std::string rate_text(double bytes_per_s) { return format_bytes(static_cast<uint64_t>(bytes_per_s)) + "/s"; }

// As the cost model takes it: scattered reads, else those in file order.
double disk_bytes_per_s(const MachineProfile& machine) {
  if (machine.disks.empty()) return 0;
  const DiskFacts& disk = machine.disks.front();
  return disk.scattered_bytes_per_s > 0 ? disk.scattered_bytes_per_s : disk.sequential_bytes_per_s;
}

double decode_bytes_per_s(const std::vector<MatmulRate>& rates, const std::string& type) {
  const auto found = std::find_if(rates.begin(), rates.end(), [&](const MatmulRate& one) { return one.type == type; });
  return found == rates.end() ? 0 : found->decode_bytes_per_s;
}

// Empty: a machine that was named, whose report has its source.
std::string measured_text(const MachineProfile& machine) {
  if (machine.source != "measured") return "";
  if (machine.measured_unix_s == 0) return "measured now";
  return fmt::format("measured {} by 'spillway profile'", date_of(machine.measured_unix_s));
}

}  // namespace

std::string row(const std::string& name, const std::string& value) { return fmt::format("{:<10} {}\n", name, value); }

std::string speed_text(double tok_per_s) {
  const int digits = tok_per_s >= 100 ? 0 : tok_per_s >= 10 ? 1 : tok_per_s >= 0.1 ? 2 : 4;
  return fmt::format("{:.{}f} tok/s", tok_per_s, digits);
}

std::string seconds_text(double s) {
  if (s >= 120) return fmt::format("{:.1f} min", s / 60);
  return s >= 10 ? fmt::format("{:.0f} s", s) : fmt::format("{:.2f} s", s);
}

std::string figure_text(const std::optional<double>& value, const char* unit, int decimals) {
  return value ? fmt::format("{:.{}f}{}", *value, decimals, unit) : "-";
}

std::string percent_text(const std::optional<double>& fraction) {
  return fraction ? fmt::format("{:.1f} %", *fraction * 100) : "-";
}

std::string bytes_text(const std::optional<double>& bytes, const char* unit) {
  return bytes ? format_bytes(static_cast<uint64_t>(*bytes)) + unit : "-";
}

std::vector<std::string> main_types(const GgufModel& model) {
  std::vector<TypeShare> shares = model_facts(model).types;
  const uint64_t all = model.weight_bytes();
  std::erase_if(shares, [&](const TypeShare& share) { return share.bytes * 10 < all; });
  std::stable_sort(shares.begin(), shares.end(),
                   [](const TypeShare& a, const TypeShare& b) { return a.bytes > b.bytes; });
  std::vector<std::string> types;
  for (const TypeShare& share : shares) types.push_back(share.type);
  return types;
}

std::string figures_text(const MachineProfile& machine, const std::vector<std::string>& types) {
  std::vector<std::string> figures;
  const auto add = [&](const std::string& name, double bytes_per_s) {
    if (bytes_per_s > 0) figures.push_back(fmt::format("{} {}", name, rate_text(bytes_per_s)));
  };
  add("disk", disk_bytes_per_s(machine));
  add("memory", machine.ram_bytes_per_s);
  constexpr size_t kTypesShown = 4;
  const size_t shown = std::min(types.size(), kTypesShown);
  for (size_t i = 0; i < shown; ++i) add(types[i], decode_bytes_per_s(machine.matmul, types[i]));
  for (const DeviceFacts& device : machine.devices)
    for (size_t i = 0; i < std::min<size_t>(shown, 1); ++i)
      add(fmt::format("{} on {}", types[i], device.name), decode_bytes_per_s(device.matmul, types[i]));
  std::string text = figures.empty() ? "none" : fmt::format("{}", fmt::join(figures, ", "));
  if (const std::string measured = measured_text(machine); !measured.empty()) text += "; " + measured;
  return text;
}

nlohmann::ordered_json figures_values(const MachineProfile& machine, const std::vector<std::string>& types) {
  nlohmann::ordered_json rates = nlohmann::ordered_json::object();
  for (const std::string& type : types)
    if (const double rate = decode_bytes_per_s(machine.matmul, type); rate > 0) rates[type] = rate;
  return {{"disk_bytes_per_s", disk_bytes_per_s(machine)},
          {"disk", machine.disks.empty() ? "" : machine.disks.front().volume},
          {"ram_bytes_per_s", machine.ram_bytes_per_s},
          {"decode_bytes_per_s", rates},
          {"measured", machine.measured_unix_s == 0 ? "" : date_of(machine.measured_unix_s)}};
}

nlohmann::ordered_json machine_values(const MachineProfile& machine, const std::vector<std::string>& types) {
  return {{"name", machine.name},     {"cpu", machine.cpu},
          {"cores", machine.cores},   {"ram_bytes_total", machine.ram_bytes_total},
          {"source", machine.source}, {"figures", figures_values(machine, types)}};
}

}  // namespace spillway
