// SPDX-License-Identifier: MIT
// What a library wants a person to know although nothing failed: a fallback taken, a limit met. Libraries never print;
// the program decides where notices go (stderr, a log, nowhere).
#pragma once

#include <functional>
#include <string>

namespace spillway {

// Thread-safe. The sink is called from any thread; pass nullptr for none. Default: none.
void set_notice_sink(std::function<void(const std::string&)> sink);

// One sentence, without a newline. The same sentence is passed on once per process.
void notice(const std::string& sentence);

}  // namespace spillway
