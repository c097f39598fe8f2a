// SPDX-License-Identifier: MIT
// Turns DeviceOptions into what libllama takes, and tells which tensors will then be on a device.
#pragma once

#include <llama.h>

#include <memory>
#include <string>
#include <vector>

#include "backend/worker_link.h"
#include "base/status.h"
#include "engine/device_options.h"
#include "model/gguf_model.h"

namespace spillway {

// Owns the arrays that llama_model_params points into; outlives the load.
class DevicePlacement {
 public:
  //   NotFound          ggml reports no device of that name; the message lists those it does
  //   InvalidArgument   as many shares as devices are needed      errors of connect_worker
  static Result<DevicePlacement> open(const DeviceOptions& options);

  void apply(llama_model_params& params);

  // [device] what each gets of the layers, in any scale: as asked, or by its free memory now. Where layers lie follows
  // from it.
  const std::vector<float>& layer_share() const { return layer_share_; }

  // Of the workers whose devices take part.
  const std::vector<std::shared_ptr<WorkerLink>>& links() const { return links_; }

 private:
  std::vector<ggml_backend_dev_t> devices_;  // ends with nullptr
  std::vector<float> layer_share_;           // [device]
  std::vector<float> shares_;                // the same as libllama takes it: [llama_max_devices()]
  std::string host_experts_;                 // a regular expression of tensor names
  std::vector<llama_model_tensor_buft_override> overrides_;
  int32_t n_gpu_layers_ = 0;
  std::vector<std::shared_ptr<WorkerLink>> links_;
};

// [n_tensor] whether libllama will put the tensor on a device. An embedding that is the output matrix too is copied
// there; its own tensor stays on the host, for its rows. Where libllama decides otherwise (a type the device cannot
// compute), the tensor is read through the mapping: right, slow, and counted as ungated.
std::vector<bool> tensors_on_devices(const GgufModel& model, const DeviceOptions& options);

}  // namespace spillway
