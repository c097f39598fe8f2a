// SPDX-License-Identifier: MIT
// Log probabilities from logits. Pure.
#pragma once

#include <span>
#include <vector>

#include "engine/engine.h"
#include "serving/ticket.h"

namespace spillway {

// Of `chosen`, and of the `n_top` likeliest; bytes are left empty. The distribution is the model's own: no sampling
// option changes it. Of logits that are no numbers nothing is known: NaN, and no likeliest.
TokenScore score_token(std::span<const float> logits, TokenId chosen, size_t n_top);

}  // namespace spillway
