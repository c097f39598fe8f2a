// SPDX-License-Identifier: MIT
#include "plan/model_facts.h"

#include <gmock/gmock.h>

#include "plan_models.h"

namespace spillway {
namespace {

TEST(ModelFacts, TheDominantTypeIsThatOfMostBytes) {
  EXPECT_EQ(dominant_type(make_shape(kMixtral)), "q5_K");
  EXPECT_EQ(dominant_type(GgufModel{}), "");
}

TEST(ModelFacts, TheContextIsTheModelsOwnWhereNobodySaysAndAtMost4096) {
  GgufModel model;
  EXPECT_EQ(default_context(model), 4096u);
  model.n_ctx_train = 512;
  EXPECT_EQ(default_context(model), 512u);
  model.n_ctx_train = 131072;
  EXPECT_EQ(default_context(model), 4096u);
}

}  // namespace
}  // namespace spillway
