// SPDX-License-Identifier: MIT
#include "engine/repacked_forms.h"

#include <algorithm>
#include <cstring>

#include "backend/extra_buffers.h"
#include "base/check.h"

namespace spillway {
namespace {

// That a dummy of a buffer takes; the weights lie in memory of ours.
constexpr size_t kBufferBytes = 64;

// How a pass uses one tensor.
struct Uses {
  const ggml_tensor* weight = nullptr;
  ggml_op product = GGML_OP_NONE;  // MUL_MAT, MUL_MAT_ID
  bool rows = false;               // GET_ROWS
  bool others = false;
};

std::vector<Uses> uses_of(const GgufModel& model, const PassOrder& order) {
  std::vector<Uses> all(model.tensors.size());
  for (const WeightUse& use : order.uses()) {
    Uses& uses = all[use.tensor];
    const bool is_product = use.op == GGML_OP_MUL_MAT || use.op == GGML_OP_MUL_MAT_ID;
    if (is_product && use.source == 0 && !use.in_part && (uses.weight == nullptr || uses.weight == use.weight)) {
      uses.others = uses.others || (uses.product != GGML_OP_NONE && uses.product != use.op);
      uses.product = use.op;
      uses.weight = use.weight;
    } else if (use.op == GGML_OP_GET_ROWS && use.source == 0 && !use.in_part) {
      uses.rows = true;
    } else {
      uses.others = true;
    }
  }
  return all;
}

// Where libllama would put a weight of that shape that is multiplied by so; nullptr: where plain ones are.
ggml_backend_buffer_type_t form_of(ggml_backend_dev_t device, const ggml_tensor& weight, ggml_op product,
                                   int64_t n_expert_used) {
  const ContextPtr context(
      ggml_init({.mem_size = 8 * ggml_tensor_overhead(), .mem_buffer = nullptr, .no_alloc = true}));
  ggml_tensor* matrix = ggml_new_tensor(context.get(), weight.type, GGML_MAX_DIMS, weight.ne);
  ggml_tensor* result = nullptr;
  if (product == GGML_OP_MUL_MAT) {
    ggml_tensor* input =
        ggml_new_tensor_4d(context.get(), GGML_TYPE_F32, weight.ne[0], kTokensAsked, weight.ne[2], weight.ne[3]);
    result = ggml_mul_mat(context.get(), matrix, input);
  } else {
    ggml_tensor* input = ggml_new_tensor_3d(context.get(), GGML_TYPE_F32, weight.ne[0], n_expert_used, kTokensAsked);
    ggml_tensor* ids = ggml_new_tensor_2d(context.get(), GGML_TYPE_I32, n_expert_used, kTokensAsked);
    result = ggml_mul_mat_id(context.get(), matrix, input, ids);
  }
  return extra_buffer_type(device, result);
}

// Of `n` rows of a weight, without data.
ggml_tensor rows_of(const ggml_tensor& weight, int64_t n) {
  ggml_tensor rows = weight;
  rows.ne[1] = n;
  rows.ne[2] = rows.ne[3] = 1;
  rows.nb[2] = rows.nb[3] = static_cast<size_t>(n) * rows.nb[1];
  rows.data = nullptr;
  rows.buffer = nullptr;
  rows.extra = nullptr;
  rows.view_src = nullptr;
  return rows;
}

}  // namespace

RepackedForms RepackedForms::find(const GgufModel& model, const PassOrder& order) {
  RepackedForms found;
  found.forms_.resize(model.tensors.size());
  ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
  if (device == nullptr) return found;
  const std::vector<Uses> uses = uses_of(model, order);
  for (uint32_t t = 0; t < uses.size(); ++t) {
    const Uses& use = uses[t];
    if (use.product == GGML_OP_NONE || use.others) continue;
    ggml_backend_buffer_type_t type =
        form_of(device, *use.weight, use.product, static_cast<int64_t>(model.n_expert_used));
    if (type == nullptr) continue;
    RepackedForm form{.slice = rows_of(*use.weight, use.weight->ne[1]), .has_rows = use.rows};
    form.slice.buffer = found.buffer_for(type);
    if (form.slice.buffer == nullptr ||
        ggml_backend_buffer_init_tensor(form.slice.buffer, &form.slice) != GGML_STATUS_SUCCESS ||
        form.slice.extra == nullptr)
      continue;  // the buffer has no kernels of its own for it: plain
    form.slot_bytes = ggml_backend_buft_get_alloc_size(type, &form.slice);
    const bool in_groups = std::strcmp(ggml_backend_buft_name(type), "CPU_REPACK") == 0 &&
                           form.slice.ne[1] % kRowsOfGroup == 0 && form.slot_bytes == ggml_nbytes(&form.slice);
    form.part_unit_bytes = in_groups ? kRowsOfGroup * form.slice.nb[1] : 0;
    found.forms_[t] = form;
  }
  return found;
}

ggml_backend_buffer_t RepackedForms::buffer_for(ggml_backend_buffer_type_t type) {
  for (const auto& buffer : buffers_)
    if (ggml_backend_buffer_get_type(buffer.get()) == type) return buffer.get();
  BufferPtr buffer(ggml_backend_buft_alloc_buffer(type, kBufferBytes));
  if (buffer == nullptr) return nullptr;
  ggml_backend_buffer_set_usage(buffer.get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
  return buffers_.emplace_back(std::move(buffer)).get();
}

WeightShape RepackedForms::shape(uint32_t tensor) const {
  if (!is_repacked(tensor)) return {};
  const RepackedForm& form = *forms_[tensor];
  return {.form = Form::kRepacked, .slot_bytes = form.slot_bytes, .part_unit_bytes = form.part_unit_bytes};
}

void RepackedForms::place(uint32_t tensor, ByteRange part, const std::byte* from, std::byte* to) const {
  if (!is_repacked(tensor)) {
    std::memcpy(to + part.offset, from, part.bytes);
    return;
  }
  const ggml_tensor& slice = forms_[tensor]->slice;
  CHECK(part.bytes % slice.nb[1] == 0 && part.offset % slice.nb[1] == 0);
  ggml_tensor rows = rows_of(slice, static_cast<int64_t>(part.bytes / slice.nb[1]));
  rows.data = to + part.offset;
  rows.buffer = slice.buffer;
  rows.extra = slice.extra;
  ggml_backend_tensor_set(&rows, from, 0, part.bytes);
}

void RepackedForms::mark(ggml_tensor& weight, uint32_t tensor) const {
  weight.buffer = forms_[tensor]->slice.buffer;
  weight.extra = forms_[tensor]->slice.extra;
}

}  // namespace spillway
