// SPDX-License-Identifier: MIT
// Which of the model goes to devices of ggml's (Metal, CUDA, Vulkan, RPC workers). libllama's way of dividing: whole
// layers from the end, the output matrix counted as one more, each layer's KV cache where its weights are.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace spillway {

struct DeviceOptions {
  std::vector<std::string> names;  // ggml's: "Vulkan0"; in the order of their layers; empty: everything on the host
  std::vector<float>
      layer_share;  // [names], any scale; empty: by free memory, in steps of 256 MiB; workers' devices first
  std::vector<std::string> workers;          // "host:port", each a ggml-rpc-server; their devices come before `names`
  double worker_answer_s = 300;              // how long a worker may compute before it counts as lost
  uint32_t n_gpu_layers = 0;                 // from the end; n_layer + 1: all
  std::vector<uint32_t> host_expert_layers;  // of those, whose experts stay on the host, and may stream
  bool op_offload = false;                   // large batches are computed on a device, host weights copied there for it
  uint64_t expert_cache_bytes = 0;  // libllama's cache on the devices for experts that are resident on the host

  bool any() const { return n_gpu_layers > 0 && (!names.empty() || !workers.empty()); }
  friend bool operator==(const DeviceOptions&, const DeviceOptions&) = default;
};

// Names of the devices that have memory of their own or a share of the machine's, as ggml reports them; RPC workers
// excluded. Loads ggml's backends on first use.
std::vector<std::string> device_names();

}  // namespace spillway
