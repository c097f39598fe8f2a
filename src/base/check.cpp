// SPDX-License-Identifier: MIT
#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace spillway {

// The one place in the libraries that prints: a broken invariant has no caller left who could report it.
void check_failed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "spillway: bug: %s:%d: CHECK(%s) failed; please report this line\n", file, line, condition);
  std::abort();
}

}  // namespace spillway
