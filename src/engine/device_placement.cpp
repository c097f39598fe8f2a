// SPDX-License-Identifier: MIT
#include "engine/device_placement.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <ggml-backend.h>

#include <algorithm>
#include <map>

#include "backend/llama_handles.h"
#include "backend/worker.h"
#include "base/bytes.h"

namespace spillway {
namespace {

// Every family's names for the experts' matrices, fused or not.
constexpr const char* kExpertTensors = "ffn_(gate_up|up|down|gate)_(ch|)exps";

bool is_device(ggml_backend_dev_t device) {
  const auto type = ggml_backend_dev_type(device);
  return type == GGML_BACKEND_DEVICE_TYPE_GPU || type == GGML_BACKEND_DEVICE_TYPE_IGPU;
}

// By free memory, as libllama does where nobody says otherwise, but in steps: what other programs take meanwhile seldom
// changes which device computes a layer, and with it bits.
constexpr uint64_t kShareStepBytes = 256 * MiB;

std::vector<float> shares_of_free_memory(const std::vector<ggml_backend_dev_t>& devices) {
  if (devices.size() == 1) return {1};
  std::vector<float> shares;
  for (ggml_backend_dev_t device : devices) {
    size_t free_bytes = 0, total_bytes = 0;
    ggml_backend_dev_memory(device, &free_bytes, &total_bytes);
    shares.push_back(static_cast<float>(std::max<uint64_t>(free_bytes / kShareStepBytes, 1)));
  }
  return shares;
}

}  // namespace

std::vector<std::string> device_names() {
  std::vector<std::string> names;
  if (!start_llama()) return names;
  for (size_t i = 0; i < ggml_backend_dev_count(); ++i)
    if (is_device(ggml_backend_dev_get(i))) names.emplace_back(ggml_backend_dev_name(ggml_backend_dev_get(i)));
  return names;
}

Result<DevicePlacement> DevicePlacement::open(const DeviceOptions& options) {
  DevicePlacement placement;
  if (options.any()) {
    std::map<std::string, size_t> n_taken;  // of a worker's devices; each time it is named, the next
    for (const std::string& address : options.workers) {
      ASSIGN_OR_RETURN(const Worker worker, connect_worker(address, options.worker_answer_s));
      const size_t index = n_taken[address]++;
      if (index >= ggml_backend_reg_dev_count(worker.registry))
        return error(Code::kNotFound, fmt::format("worker {} has fewer devices than before", address));
      placement.devices_.push_back(ggml_backend_reg_dev_get(worker.registry, index));
      if (worker.link != nullptr) placement.links_.push_back(worker.link);
    }
    for (const std::string& name : options.names) {
      ggml_backend_dev_t device = ggml_backend_dev_by_name(name.c_str());
      if (device == nullptr || !is_device(device))
        return error(Code::kNotFound,
                     fmt::format("there is no device '{}'; ggml finds {}", name,
                                 device_names().empty() ? "none here: leave out --device"
                                                        : fmt::format("{}", fmt::join(device_names(), ", "))));
      placement.devices_.push_back(device);
    }
    placement.n_gpu_layers_ = static_cast<int32_t>(options.n_gpu_layers);
    if (!options.layer_share.empty() && options.layer_share.size() != placement.devices_.size())
      return error(Code::kInvalidArgument,
                   fmt::format("{} shares for {} devices", options.layer_share.size(), placement.devices_.size()));
    placement.layer_share_ =
        options.layer_share.empty() ? shares_of_free_memory(placement.devices_) : options.layer_share;
    placement.shares_ = placement.layer_share_;
    placement.shares_.resize(std::max(llama_max_devices(), placement.shares_.size()), 0.0f);
    if (!options.host_expert_layers.empty()) {
      placement.host_experts_ =
          fmt::format("blk\\.({})\\.{}", fmt::join(options.host_expert_layers, "|"), kExpertTensors);
      placement.overrides_.push_back({nullptr, ggml_backend_cpu_buffer_type()});  // its pattern: apply()
    }
  }
  placement.devices_.push_back(nullptr);
  placement.overrides_.push_back({nullptr, nullptr});
  return placement;
}

void DevicePlacement::apply(llama_model_params& params) {
  params.devices = devices_.data();
  params.n_gpu_layers = n_gpu_layers_;
  if (!host_experts_.empty()) overrides_.front().pattern = host_experts_.c_str();  // here: this may have been moved
  params.tensor_buft_overrides = overrides_.data();
  if (!shares_.empty()) params.tensor_split = shares_.data();
}

std::vector<bool> tensors_on_devices(const GgufModel& model, const DeviceOptions& options) {
  std::vector<bool> on_device(model.tensors.size());
  if (!options.any()) return on_device;
  const int64_t first_layer = static_cast<int64_t>(model.n_layer) + 1 - options.n_gpu_layers;
  for (size_t t = 0; t < model.tensors.size(); ++t) {
    const TensorInfo& tensor = model.tensors[t];
    const bool stays = tensor.role == TensorRole::kExperts &&
                       std::find(options.host_expert_layers.begin(), options.host_expert_layers.end(),
                                 static_cast<uint32_t>(std::max(tensor.layer, 0))) != options.host_expert_layers.end();
    const bool is_output = tensor.layer < 0 && tensor.name.starts_with("output");
    on_device[t] = !stays && ((tensor.layer >= 0 && tensor.layer >= first_layer) || is_output);
  }
  return on_device;
}

}  // namespace spillway
