// SPDX-License-Identifier: MIT
#include "backend/kernel_limits.h"

#include <gmock/gmock.h>

#include "backend/ggml_handles.h"

namespace spillway {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class KernelLimitsTest : public testing::Test {
 protected:
  ggml_tensor* tensor(ggml_type type, int64_t a, int64_t b = 1, int64_t c = 1, int64_t d = 1) {
    return ggml_new_tensor_4d(context_.get(), type, a, b, c, d);
  }
  ggml_context* context() { return context_.get(); }

 private:
  const ContextPtr context_{
      ggml_init({.mem_size = 64 * ggml_tensor_overhead(), .mem_buffer = nullptr, .no_alloc = true})};
};

TEST_F(KernelLimitsTest, ChannelsAreNotDividedIntoNoGroups) {
  const auto refusal = [&](int n_groups) {
    return figure_refusal(ggml_group_norm(context(), tensor(GGML_TYPE_F32, 4, 1, 8), n_groups, 1e-5f));
  };
  for (const int n_groups : {1, 3, 8}) EXPECT_THAT(refusal(n_groups), IsEmpty()) << n_groups;
  for (const int n_groups : {0, -1, 9, INT32_MAX}) EXPECT_THAT(refusal(n_groups), HasSubstr("groups")) << n_groups;
}

TEST_F(KernelLimitsTest, ConvolutionsTakeKernelsInF32AndF16) {
  for (const ggml_type type : {GGML_TYPE_F32, GGML_TYPE_F16, GGML_TYPE_BF16}) {
    ggml_tensor* in = tensor(GGML_TYPE_F32, 8, 8, 4);
    for (const ggml_tensor* node :
         {ggml_conv_2d_dw_direct(context(), tensor(type, 3, 3, 1, 4), in, 1, 1, 1, 1, 1, 1),
          ggml_conv_transpose_2d_p0(context(), tensor(type, 3, 3, 4, 4), in, 2),
          ggml_conv_transpose_1d(context(), tensor(type, 3, 4, 4), tensor(GGML_TYPE_F32, 8, 4), 1, 0, 1)})
      EXPECT_EQ(type_refusal(node, 0).empty(), type != GGML_TYPE_BF16) << ggml_op_desc(node) << ggml_type_name(type);
  }
}

TEST_F(KernelLimitsTest, HeadsOfAScanAreDividedEvenly) {
  constexpr int64_t kState = 16, kHeadDim = 4, kHeads = 8, kTokens = 2;
  const auto scan = [&](int64_t n_groups) {
    return ggml_ssm_scan(context(), tensor(GGML_TYPE_F32, kState, kHeadDim, kHeads, 1),
                         tensor(GGML_TYPE_F32, kHeadDim, kHeads, kTokens, 1), tensor(GGML_TYPE_F32, kHeads, kTokens, 1),
                         tensor(GGML_TYPE_F32, 1, kHeads), tensor(GGML_TYPE_F32, kState, n_groups, kTokens, 1),
                         tensor(GGML_TYPE_F32, kState, n_groups, kTokens, 1), tensor(GGML_TYPE_I32, 1), 1);
  };
  for (const int64_t n_groups : {1, 2, 8}) EXPECT_THAT(figure_refusal(scan(n_groups)), IsEmpty()) << n_groups;
  EXPECT_THAT(figure_refusal(scan(3)), HasSubstr("groups"));
  EXPECT_THAT(type_refusal(scan(1), 3), IsEmpty());
  EXPECT_THAT(type_refusal(scan(1), 6), IsEmpty());
}

TEST_F(KernelLimitsTest, WhatIsAddedByANumberIsInF32) {
  const auto refusal = [&](ggml_type type, int source) {
    return type_refusal(
        ggml_add_id(context(), tensor(GGML_TYPE_F32, 8, 2, 3), tensor(type, 8, 4), tensor(GGML_TYPE_I32, 2, 3)),
        source);
  };
  EXPECT_THAT(refusal(GGML_TYPE_F32, 1), IsEmpty());
  EXPECT_THAT(refusal(GGML_TYPE_F32, 2), IsEmpty());
  EXPECT_THAT(refusal(GGML_TYPE_I32, 1), HasSubstr("no code for"));
}

// Read as if it were in f32, whatever it is.
TEST_F(KernelLimitsTest, TheBonusOfAFirstTokenIsInF32) {
  const auto refusal = [&](ggml_type type) {
    ggml_tensor* each = tensor(GGML_TYPE_F32, 4, 2, 3);
    return type_refusal(
        ggml_rwkv_wkv6(context(), each, each, each, tensor(type, 4, 2), each, tensor(GGML_TYPE_F32, 32)), 3);
  };
  EXPECT_THAT(refusal(GGML_TYPE_F32), IsEmpty());
  EXPECT_THAT(refusal(GGML_TYPE_F16), Not(IsEmpty()));
}

// They may be looked up and chosen by, and are not computed with.
TEST_F(KernelLimitsTest, WholeNumbersAreNoFactors) {
  ggml_tensor* values = tensor(GGML_TYPE_F32, 8, 4);
  ggml_tensor* whole = tensor(GGML_TYPE_I32, 8, 4);
  EXPECT_THAT(type_refusal(ggml_mul(context(), values, whole), 1), HasSubstr("no code for"));
  EXPECT_THAT(type_refusal(ggml_silu(context(), whole), 0), HasSubstr("no code for"));
  EXPECT_THAT(type_refusal(ggml_sum_rows(context(), whole), 0), HasSubstr("no code for"));
  EXPECT_THAT(type_refusal(ggml_get_rows(context(), whole, tensor(GGML_TYPE_I32, 2)), 0), IsEmpty());
}

}  // namespace
}  // namespace spillway
