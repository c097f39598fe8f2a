// SPDX-License-Identifier: MIT
// A projector's pass over an image is gone through once before it computes. libmtmd builds its graph from what the file
// and the image say, and believes both; ggml looks at types and figures only while it computes, on threads where
// nothing can be caught. In a rehearsal every node is shown and none computes, so what would end the process is an
// error: of libmtmd's code around the graph by what it throws, of ggml's kernels by backend/kernel_limits.h. A graph of
// 400 nodes takes about a millisecond to go through, and seconds to compute.
//
// Threads: one at a time. Lifetime: outlives the libmtmd context that calls on_node().
#pragma once

#include <ggml.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "base/status.h"

namespace spillway {

class ImageRehearsal {
 public:
  // For mtmd_context_params: cb_eval, with this as cb_eval_user_data.
  static bool on_node(ggml_tensor* node, bool ask, void* user);

  // `pass` computes one image, and returns 0 where that went well; it is called twice, and computes the second time.
  // It ends between two products once `stop` is set.
  //   Unsupported   what would have ended the process, or fails      Internal   as the second time alone
  //   Cancelled     stopped: what it computed is worth nothing
  Result<void> compute(const std::function<int32_t()>& pass, const std::atomic<bool>& stop);

 private:
  enum class Step { kIdle, kRehearsal, kCompute };
  void rehearse(ggml_tensor* node);
  bool is_stopped() const { return stop_ != nullptr && stop_->load(std::memory_order_relaxed); }

  const std::atomic<bool>* stop_ = nullptr;  // of the pass that computes
  Step step_ = Step::kIdle;
  size_t n_rehearsed_ = 0, n_computed_ = 0;  // nodes that compute something
  std::string refusal_;                      // of the first node that ggml has no code for
};

}  // namespace spillway
