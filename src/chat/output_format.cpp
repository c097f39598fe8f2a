// SPDX-License-Identifier: MIT
#include "chat/output_format.h"

namespace spillway {

std::string show(const OutputFormat& format) {
  std::string out = format.harmony ? "harmony" : format.calls ? "calls " + show(*format.calls) : "no calls";
  if (!format.think_end.empty()) out += "; thoughts " + show(format.think_begin) + "…" + show(format.think_end);
  if (!format.text_begin.empty()) out += "; text " + show(format.text_begin) + "…";
  for (const std::string& mark : format.text_ends) out += "; text ends " + show(mark);
  return out;
}

}  // namespace spillway
