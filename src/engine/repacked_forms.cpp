// SPDX-License-Identifier: MIT
#include "engine/repacked_forms.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <tuple>

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

uint64_t form_bytes(const ggml_tensor& weight) {
  return ggml_backend_buft_get_alloc_size(ggml_backend_buffer_get_type(weight.buffer), &weight);
}

// Puts `n` rows of a weight in its form, from memory as a file has them.
void put_rows(const ggml_tensor& weight, int64_t n, const std::byte* from, std::byte* to) {
  ggml_tensor rows = rows_of(weight, n);
  rows.buffer = weight.buffer;
  rows.extra = weight.extra;
  rows.data = to;
  ggml_backend_tensor_set(&rows, from, 0, static_cast<size_t>(n) * weight.nb[1]);
}

// Memory as ggml aligns its own.
struct alignas(64) Line {
  std::byte bytes[64];
};

// The bytes of a group's form, where groups of rows can be put in place one by one; 0: only all at once. Tried: two
// groups, together and one after the other.
uint64_t group_bytes(const ggml_tensor& slice) {
  if (slice.ne[1] % kRowsOfGroup != 0) return 0;
  ggml_tensor one = rows_of(slice, kRowsOfGroup), two = rows_of(slice, 2 * kRowsOfGroup);
  one.buffer = two.buffer = slice.buffer;
  const uint64_t bytes = form_bytes(one);
  if (form_bytes(two) != 2 * bytes || form_bytes(slice) != bytes * static_cast<uint64_t>(slice.ne[1] / kRowsOfGroup))
    return 0;
  std::vector<std::byte> file(2 * kRowsOfGroup * slice.nb[1]);
  for (size_t i = 0; i < file.size(); ++i) file[i] = static_cast<std::byte>(i * 167 + i / 251);
  std::vector<Line> together(2 * bytes / sizeof(Line) + 1), apart(together.size());
  const auto put = [&](int64_t n, size_t group, std::vector<Line>& form) {
    put_rows(slice, n, file.data() + group * kRowsOfGroup * slice.nb[1], form.front().bytes + group * bytes);
  };
  put(2 * kRowsOfGroup, 0, together);
  put(kRowsOfGroup, 0, apart);
  put(kRowsOfGroup, 1, apart);
  return std::memcmp(together.data(), apart.data(), 2 * bytes) == 0 ? bytes : 0;
}

}  // namespace

RepackedForms RepackedForms::find(const GgufModel& model, const PassOrder& order) {
  RepackedForms found;
  found.forms_.resize(model.tensors.size());
  ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
  if (device == nullptr) return found;
  const std::vector<Uses> uses = uses_of(model, order);
  std::map<std::tuple<ggml_backend_buffer_type_t, ggml_type, int64_t, int64_t>, uint64_t> groups;  // of each shape
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
    form.slot_bytes = form_bytes(form.slice);
    const auto key = std::make_tuple(type, form.slice.type, form.slice.ne[0], form.slice.ne[1]);
    const auto known = groups.find(key);
    form.group_bytes = known != groups.end() ? known->second : groups[key] = group_bytes(form.slice);
    form.part_unit_bytes = form.group_bytes > 0 ? kRowsOfGroup * form.slice.nb[1] : 0;
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
  const RepackedForm& form = *forms_[tensor];
  CHECK(part.bytes % form.slice.nb[1] == 0);
  uint64_t offset = 0;  // in the form
  if (part.offset > 0) {
    CHECK(form.part_unit_bytes > 0 && part.offset % form.part_unit_bytes == 0);
    offset = part.offset / form.part_unit_bytes * form.group_bytes;
  }
  put_rows(form.slice, static_cast<int64_t>(part.bytes / form.slice.nb[1]), from, to + offset);
}

void RepackedForms::mark(ggml_tensor& weight, uint32_t tensor) const {
  weight.buffer = forms_[tensor]->slice.buffer;
  weight.extra = forms_[tensor]->slice.extra;
}

}  // namespace spillway
