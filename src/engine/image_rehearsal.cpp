// SPDX-License-Identifier: MIT
#include "engine/image_rehearsal.h"

#include <fmt/format.h>

#include <exception>
#include <utility>

#include "backend/kernel_limits.h"
#include "backend/llama_call.h"
#include "engine/weight_index.h"
#include "model/ggml_log.h"

namespace spillway {
namespace {

std::string refusal_of(const ggml_tensor* node) {
  if (std::string why = figure_refusal(node); !why.empty()) return why;
  for (int s = 0; s < GGML_MAX_SRC; ++s)
    if (node->src[s] != nullptr)
      if (std::string why = type_refusal(node, s); !why.empty()) return why;
  // What libmtmd itself computed is known before the pass.
  const bool known = node->op == GGML_OP_GET_ROWS && (root_of(node->src[1])->flags & GGML_TENSOR_FLAG_INPUT) != 0;
  return known ? row_refusal(node) : "";
}

Failure stopped() { return error(Code::kCancelled, "stopped"); }

}  // namespace

bool ImageRehearsal::on_node(ggml_tensor* node, bool ask, void* user) {
  auto* self = static_cast<ImageRehearsal*>(user);
  if (self->step_ == Step::kIdle) return false;
  if (!ask) return !self->is_stopped();
  const bool computes = !computes_nothing(node);
  if (self->step_ == Step::kRehearsal) {
    if (computes) self->rehearse(node);
    return false;  // never a stop: so all of a graph is shown before the first node of it computes
  }
  self->n_computed_ += computes ? 1 : 0;
  // A large image takes minutes. Nearly all of that are products; each stop takes some 20 us.
  return node->op == GGML_OP_MUL_MAT || self->is_stopped();
}

void ImageRehearsal::rehearse(ggml_tensor* node) {
  ++n_rehearsed_;
  if (refusal_.empty()) refusal_ = refusal_of(node);
  node->op = GGML_OP_NONE;  // the graph is built anew for each pass
}

Result<void> ImageRehearsal::compute(const std::function<int32_t()>& pass, const std::atomic<bool>& stop) {
  refusal_.clear();
  n_rehearsed_ = n_computed_ = 0;
  const GgmlErrorCapture log;
  step_ = Step::kRehearsal;
  const auto rehearsed = call_llama(pass);
  step_ = Step::kIdle;
  if (!refusal_.empty()) return error(Code::kUnsupported, fmt::format("the projector's file is wrong: {}", refusal_));
  if (!rehearsed) return Failure(rehearsed.error());
  if (*rehearsed != 0) return error(Code::kInternal, "the image could not be computed" + because(log.first_error()));
  if (stop) return stopped();
  step_ = Step::kCompute;
  stop_ = &stop;
  int32_t outcome = 0;
  std::string thrown;
  try {
    outcome = pass();
  } catch (const std::exception& e) {
    thrown = "the image could not be computed: " + one_line(e.what());
  }
  step_ = Step::kIdle;
  stop_ = nullptr;
  if (stop) return stopped();
  if (!thrown.empty()) return error(Code::kInternal, std::move(thrown));
  if (outcome != 0) return error(Code::kInternal, "the image could not be computed" + because(log.first_error()));
  if (n_computed_ != n_rehearsed_)  // a libmtmd that keeps its graphs: what was rehearsed would stay empty
    return error(Code::kInternal, fmt::format("libmtmd computed {} of {} steps", n_computed_, n_rehearsed_));
  return {};
}

}  // namespace spillway
