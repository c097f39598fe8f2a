// SPDX-License-Identifier: MIT
#include "backend/kernel_limits.h"

#include <fmt/format.h>

#include <array>
#include <cstring>

#include "model/ggml_log.h"

namespace spillway {
namespace {

bool is_float(ggml_type type) { return type == GGML_TYPE_F32 || type == GGML_TYPE_F16 || type == GGML_TYPE_BF16; }

// What matrices have. The other two of ggml's quantized types are of results on the way, not of weights.
bool is_weight_type(ggml_type type) {
  return is_float(type) || (ggml_is_quantized(type) && type != GGML_TYPE_Q8_1 && type != GGML_TYPE_Q8_K);
}

bool is_second_of(const ggml_tensor* node, ggml_type type) {
  return type == GGML_TYPE_F32 || (is_float(type) && type == node->src[0]->type);
}

bool takes(const ggml_tensor* node, int s) {
  const ggml_type type = node->src[s]->type;
  switch (node->op) {
    case GGML_OP_MUL_MAT:
    case GGML_OP_MUL_MAT_ID:
      return s == 0 ? is_weight_type(type) : s == 2 || is_second_of(node, type);
    case GGML_OP_GET_ROWS:
      return s != 0 || is_weight_type(type) || type == GGML_TYPE_I32;
    case GGML_OP_ADD:
      if (s == 0 && ggml_is_quantized(type)) return true;
      [[fallthrough]];
    case GGML_OP_SUB:
    case GGML_OP_MUL:
    case GGML_OP_DIV:
      return s == 0 ? is_float(type) : is_second_of(node, type);
    // A convolution, as rows of its input: the kernel's type decides that of the rows.
    case GGML_OP_IM2COL:
      return (node->type == GGML_TYPE_F32 || node->type == GGML_TYPE_F16) && (s == 0 || type == GGML_TYPE_F32);
    case GGML_OP_CONV_2D:
    case GGML_OP_CONV_2D_DW:
    case GGML_OP_CONV_3D:
    case GGML_OP_CONV_TRANSPOSE_1D:
    case GGML_OP_CONV_TRANSPOSE_2D:
      return type == GGML_TYPE_F32 || (s == 0 && type == GGML_TYPE_F16);
    case GGML_OP_POOL_1D:
    case GGML_OP_POOL_2D:
      return type == GGML_TYPE_F32 || type == GGML_TYPE_F16;
    case GGML_OP_REPEAT:
      return !ggml_is_quantized(type);
    case GGML_OP_UNARY:
    case GGML_OP_SQR:
    case GGML_OP_SQRT:
    case GGML_OP_LOG:
    case GGML_OP_SIN:
    case GGML_OP_COS:
      return is_float(type);
    case GGML_OP_GLU:
    case GGML_OP_CLAMP:
      return type == GGML_TYPE_F32 || type == GGML_TYPE_F16;
    case GGML_OP_CPY:
    case GGML_OP_DUP:
    case GGML_OP_CONT:
      if (s != 0 || !ggml_is_quantized(type)) return true;
      return node->type == GGML_TYPE_F32 || (node->type == type && ggml_is_contiguous(node->src[0]));
    case GGML_OP_NORM:
    case GGML_OP_RMS_NORM:
    case GGML_OP_L2_NORM:
    case GGML_OP_GROUP_NORM:
    case GGML_OP_SCALE:
    case GGML_OP_UPSCALE:
    case GGML_OP_PAD:
    case GGML_OP_ACC:
    case GGML_OP_SUM_ROWS:
    case GGML_OP_CUMSUM:
    case GGML_OP_MEAN:
    case GGML_OP_ARGSORT:
    case GGML_OP_TOP_K:
    case GGML_OP_SOFT_MAX:
      return s != 0 || type == GGML_TYPE_F32;
    // These read it as if it were, whatever it is: beyond its end where it is shorter.
    case GGML_OP_RWKV_WKV6:
    case GGML_OP_RWKV_WKV7:
    case GGML_OP_GATED_LINEAR_ATTN:
      return type == GGML_TYPE_F32;
    case GGML_OP_ADD_ID:
      return s == 2 || type == GGML_TYPE_F32;
    case GGML_OP_SSM_CONV:
      return type == GGML_TYPE_F32;
    case GGML_OP_SSM_SCAN:
      return s == 6 || type == GGML_TYPE_F32;  // the last are numbers of sequences
    default:
      return true;
  }
}

// Of a norm: what is added before the root is taken.
bool is_root_defined(const ggml_tensor* node) {
  float epsilon = 0;
  std::memcpy(&epsilon, node->op_params, sizeof epsilon);
  return epsilon >= 0;  // no number is neither
}

// Channels are divided by the number of groups, and all groups are gone through, with channels or without.
bool groups_channels(const ggml_tensor* node) {
  int32_t n_groups = 0;
  std::memcpy(&n_groups, node->op_params, sizeof n_groups);
  return n_groups > 0 && n_groups <= node->ne[2];
}

// Of a scan: heads share what their group has.
bool divides_heads(const ggml_tensor* node) {
  const int64_t n_heads = node->src[1]->ne[1], n_groups = node->src[4]->ne[1];
  return n_groups > 0 && n_heads % n_groups == 0;
}

// By the places that ggml_rope_ext() gives its figures.
bool turns_pairs(const ggml_tensor* node) {
  std::array<int32_t, 15> figures{};
  static_assert(sizeof figures <= sizeof node->op_params);
  std::memcpy(figures.data(), node->op_params, sizeof figures);
  const int32_t n_dims = figures[1], mode = figures[2];
  const bool in_sections = (mode & GGML_ROPE_TYPE_MROPE) != 0;
  if (in_sections && figures[11] <= 0 && figures[12] <= 0 && figures[13] <= 0) return false;
  if (mode == GGML_ROPE_TYPE_VISION && n_dims != node->ne[0] / 2) return false;
  return n_dims >= 0 && n_dims % 2 == 0 && n_dims <= node->ne[0];
}

}  // namespace

std::string figure_refusal(const ggml_tensor* node) {
  switch (node->op) {
    case GGML_OP_NORM:
    case GGML_OP_RMS_NORM:
    case GGML_OP_L2_NORM:
      return is_root_defined(node) ? "" : fmt::format("no norm has the epsilon of {}", one_line(node->name));
    case GGML_OP_GROUP_NORM:
      return groups_channels(node) ? "" : fmt::format("the groups of {} are none", one_line(node->name));
    case GGML_OP_SSM_SCAN:
      return divides_heads(node) ? "" : fmt::format("the groups of {} do not divide its heads", one_line(node->name));
    case GGML_OP_ROPE:
      return turns_pairs(node) ? "" : fmt::format("the dimensions of the rope of {} are none", one_line(node->name));
    default:
      return "";
  }
}

std::string type_refusal(const ggml_tensor* node, int s) {
  if (takes(node, s)) return "";
  return fmt::format("ggml has no code for {} of {} in {}", ggml_op_desc(node), one_line(node->src[s]->name),
                     ggml_type_name(node->src[s]->type));
}

std::string row_refusal(const ggml_tensor* node) {
  const ggml_tensor *rows = node->src[0], *ids = node->src[1];
  if (ids->type != GGML_TYPE_I32 || ids->data == nullptr) return "";
  for (int64_t k = 0; k < ids->ne[2]; ++k)
    for (int64_t j = 0; j < ids->ne[1]; ++j)
      for (int64_t i = 0; i < ids->ne[0]; ++i) {
        int32_t row = 0;
        std::memcpy(&row,
                    static_cast<const char*>(ids->data) + static_cast<size_t>(i) * ids->nb[0] +
                        static_cast<size_t>(j) * ids->nb[1] + static_cast<size_t>(k) * ids->nb[2],
                    sizeof row);
        if (row < 0 || row >= rows->ne[1])
          return fmt::format("row {} of {} is asked for, which has {}", row, one_line(rows->name), rows->ne[1]);
      }
  return "";
}

}  // namespace spillway
