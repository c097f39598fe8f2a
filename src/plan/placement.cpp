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

namespace {

// As people can give it back: no less than `bytes`, where shorter words would round down.
std::string size_not_below(uint64_t bytes) {
  constexpr uint64_t kShown = 100;  // parts of a GiB
  if (bytes < 16 * MiB) return fmt::format("{} KiB", (bytes + KiB - 1) / KiB);
  if (bytes < 4 * GiB) return fmt::format("{} MiB", (bytes + MiB - 1) / MiB);
  return fmt::format("{:.2f} GiB", static_cast<double>(((bytes + MiB - 1) / MiB * kShown + 1023) / 1024) / kShown);
}

}  // namespace

Status budget_too_small(const TooSmall& what) {
  const std::string mode = what.mode ? fmt::format(" in mode {}", mode_name(*what.mode)) : "";
  const std::string contexts = what.n_contexts > 1
                                   ? fmt::format("{} contexts of {} tokens", what.n_contexts, what.n_ctx)
                                   : fmt::format("a context of {} tokens", what.n_ctx);
  const std::string task = fmt::format("{} of weights{} with {}", format_bytes(what.weight_bytes), mode, contexts);
  const std::string held =
      what.held_bytes > 0 ? fmt::format(" beside {} of other models", format_bytes(what.held_bytes)) : "";
  if (what.least_bytes == 0)
    return {Code::kOutOfBudget, fmt::format("the budget of {} is too small, as any other would be, for {}{}",
                                            format_bytes(what.ram_bytes), task, held)};
  return {Code::kOutOfBudget,
          fmt::format("the budget of {} is too small: at least {} is needed for {}{}; raise --ram or lower --context",
                      format_bytes(what.ram_bytes), size_not_below(what.least_bytes), task, held)};
}

Status weights_too_small(uint64_t weights_bytes, uint64_t least_bytes) {
  return {Code::kOutOfBudget, fmt::format("{} for weights is too little: at least {} is needed; raise --weights",
                                          format_bytes(weights_bytes), size_not_below(least_bytes))};
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
