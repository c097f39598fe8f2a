// SPDX-License-Identifier: MIT
#include "plan/placement.h"

#include <fmt/format.h>

#include <utility>

#include "base/bytes.h"

namespace spillway {

const char* mode_name(Mode mode) {
  switch (mode) {
    case Mode::kResident:
      return "resident";
    case Mode::kStream:
      return "stream";
    case Mode::kMmap:
      return "mmap";
  }
  return "?";
}

Placement placement_of(const Layout& layout, Mode mode, std::string why) {
  Placement placement;
  placement.mode = mode;
  placement.why = std::move(why);
  placement.pinned_bytes = layout.pinned_bytes;
  placement.ring_tensor_bytes = layout.ring_tensor_bytes;
  placement.expert_tensor_bytes = layout.expert_tensor_bytes;
  placement.rows_bytes = layout.rows_bytes;
  placement.device_bytes = layout.device_bytes;
  placement.unused_bytes = layout.unused_bytes;
  placement.pool_bytes = layout.pool_bytes;
  placement.ring_pool_bytes = layout.ring_pool_bytes;
  return placement;
}

Result<ModeChoice> mode_for(uint64_t resident_bytes, uint64_t weights_budget_bytes, std::optional<Mode> asked) {
  const bool fits = resident_bytes <= weights_budget_bytes;
  const std::string need = format_bytes(resident_bytes), room = format_bytes(weights_budget_bytes);
  if (asked == Mode::kResident && !fits)
    return error(Code::kInvalidArgument,
                 fmt::format("the weights need {} and the budget leaves {} for them; raise --ram, or use --mode stream",
                             need, room));
  if (asked) return ModeChoice{*asked, "asked for"};
  if (fits) return ModeChoice{Mode::kResident, fmt::format("the weights ({}) fit the budget", need)};
  return ModeChoice{Mode::kStream, fmt::format("the weights need {}, the budget leaves {}", need, room)};
}

}  // namespace spillway
