// SPDX-License-Identifier: MIT
// A notice where nobody is above who could catch what making it throws.
#pragma once

namespace spillway {

// "WHERE: WHAT", as notice(); nothing where there is no memory for it. Any thread.
void notice_if_possible(const char* where, const char* what) noexcept;

}  // namespace spillway
