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

}  // namespace
}  // namespace spillway
