// SPDX-License-Identifier: MIT
#include "engine/sampling_limits.h"

#include <algorithm>
#include <cmath>

namespace spillway {
namespace {

// Logits are of the order of 100: divided by less, differences of 0.01 decide alone.
constexpr float kTempMin = 1e-4f, kTempMax = 1e4f;
constexpr float kPenaltyFactorMin = 1e-3f, kPenaltyFactorMax = 1e3f;
constexpr float kPenaltyMax = 1e4f;
constexpr float kBiasMax = 1e9f;

float within(float value, float min, float max, float otherwise) {
  return std::isnan(value) ? otherwise : std::clamp(value, min, max);
}

}  // namespace

SamplingOptions within_limits(SamplingOptions options) {
  const SamplingOptions unsaid;
  options.temp = within(options.temp, 0, kTempMax, unsaid.temp);
  if (options.temp < kTempMin) options.temp = 0;
  options.top_p = within(options.top_p, 0, 1, unsaid.top_p);
  options.min_p = within(options.min_p, 0, 1, unsaid.min_p);
  options.typical_p = within(options.typical_p, 0, 1, unsaid.typical_p);
  options.repeat_penalty = options.repeat_penalty <= 0 ? unsaid.repeat_penalty
                                                       : within(options.repeat_penalty, kPenaltyFactorMin,
                                                                kPenaltyFactorMax, unsaid.repeat_penalty);
  for (float* penalty : {&options.frequency_penalty, &options.presence_penalty})
    *penalty = within(*penalty, -kPenaltyMax, kPenaltyMax, 0);
  for (auto& [id, bias] : options.logit_bias) bias = within(bias, -kBiasMax, kBiasMax, 0);
  return options;
}

}  // namespace spillway
