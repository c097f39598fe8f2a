// SPDX-License-Identifier: MIT
// CHECK for our own mistakes: always on, ends the process with file, line and condition. DCHECK for hot paths.
#pragma once

namespace spillway {
[[noreturn]] void check_failed(const char* condition, const char* file, int line);
}

#define CHECK(condition)                                       \
  (__builtin_expect(static_cast<bool>(condition), 1) ? void(0) \
                                                     : ::spillway::check_failed(#condition, __FILE__, __LINE__))
#ifdef NDEBUG
#define DCHECK(condition) void(0)
#else
#define DCHECK(condition) CHECK(condition)
#endif
