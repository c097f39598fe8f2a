// SPDX-License-Identifier: MIT
// A machine profile with something in every field.
#pragma once

#include "base/bytes.h"
#include "hw/machine_profile.h"

namespace spillway {

inline MachineProfile sample_profile() {
  MachineProfile profile;
  profile.name = "this machine";
  profile.source = "measured";
  profile.fingerprint = "0123456789abcdef";
  profile.measured_unix_s = 1'790'000'000;
  profile.cpu = "A \"fast\" CPU";
  profile.cores = 12;
  profile.ram_bytes_total = 64 * GiB;
  profile.ram_bytes_per_s = 51.5e9;
  profile.matmul = {{"q4_K", 21e9, 1.5e11, 1.35e11, 2.5e9}, {"f16", 48.25e9, 2.5e11}};
  profile.disks = {{"/home", 6.1e9, 4.7e9, 1040384, 16, true}, {"/", 5e8, 4e8, 65536, 8, false}};
  profile.devices = {{.name = "Vulkan0",
                      .description = "A GPU",
                      .backend = "Vulkan",
                      .memory_bytes_total = 8 * GiB,
                      .memory_bytes_free = 7 * GiB,
                      .shares_ram = false,
                      .upload_bytes_per_s = 1.2e10,
                      .matmul = {{"q4_K", 2e11, 1e13}}}};
  profile.workers = {{.address = "lab:50052",
                      .link_bytes_per_s = 1.1e8,
                      .link_latency_s = 0.0002,
                      .device = {.name = "RPC0",
                                 .description = "",
                                 .backend = "RPC",
                                 .memory_bytes_total = 16 * GiB,
                                 .memory_bytes_free = 16 * GiB,
                                 .shares_ram = false,
                                 .upload_bytes_per_s = 1.1e8,
                                 .matmul = {{"q4_K", 1e10, 1e11}}}}};
  profile.doubts = {"two passes differ by 40 %"};
  return profile;
}

}  // namespace spillway
