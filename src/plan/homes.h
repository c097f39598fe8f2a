// SPDX-License-Identifier: MIT
// The places of a machine where layers can live and be computed: the host first, then other machines, then its own
// devices, in the order in which a model's layers pass through them. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "hw/machine_profile.h"
#include "plan/cost_model.h"
#include "plan/rates.h"

namespace spillway {

struct Home {
  std::string name;
  bool is_worker = false, shares_ram = false;
  uint64_t memory_bytes = 0;  // that a plan may use; the host's is its budget and not here
  Rates rates;
  double memory_bytes_per_s = 0;  // reading a KV cache
  // Of a layer's operations beside its products: for each token, and to start them for all tokens of a pass.
  double layer_s = 0, layer_start_s = 0;
  double hop_s = 0;  // handing activations over, to or from the host
  double upload_bytes_per_s = 0;
};

struct Homes {
  std::vector<Home> all;  // [0] the host
  DiskRates disk;
  std::vector<std::string> doubts;  // figures that were assumed; devices left out
};

// `gpu_memory_bytes`: of each device, instead of what the profile says; 0 leaves the devices out.
Homes homes_of(const MachineProfile& machine, std::optional<uint64_t> gpu_memory_bytes);

}  // namespace spillway
