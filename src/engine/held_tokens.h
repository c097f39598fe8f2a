// SPDX-License-Identifier: MIT
// What a sequence of a context holds, and where it may be cut: the one account of it. It is made of what libllama says
// itself, and asked for before anything is reused, kept or offered to others.
//
//     layers that keep everything    [0 ........................................ n)
//     layers with a sliding window             [first .......................... n)    what is before `first` is lost
//     recurrent layers                                                          n      one state, of all n tokens
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/saturating_sub.h"

namespace spillway {

struct HeldTokens {
  size_t n = 0;             // tokens
  size_t first = 0;         // the earliest position that all layers hold that keep any
  size_t window = 0;        // tokens that a windowed layer looks back over, that of its own included; 0: there is none
  bool whole_only = false;  // there is a recurrent state

  // The most tokens, at most `wanted`, that it can be cut to so that what is computed behind them is right; 0 where it
  // has to be begun anew.
  size_t cut_to(size_t wanted) const {
    if (wanted >= n) return n;
    if (whole_only) return 0;
    // The next token looks at its own position and at window - 1 before it.
    const size_t needed_from = window > 0 ? saturating_sub(wanted + 1, window) : 0;
    return first <= needed_from ? wanted : 0;
  }

  // What a sequence holds after its whole state was restored: windows come back as they are, without what is behind.
  static HeldTokens restored(size_t n, size_t window, bool whole_only) {
    return {.n = n, .first = window > 0 ? saturating_sub(n, window) : 0, .window = window, .whole_only = whole_only};
  }
};

enum class StatePart {
  kWhole,
  kCheckpoint,  // what is lost as the sequence goes on
};

}  // namespace spillway
