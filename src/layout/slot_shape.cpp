// SPDX-License-Identifier: MIT
#include "layout/slot_shape.h"

#include <algorithm>

namespace spillway {
namespace {

// A part is read at once: as long as a read that devices take whole, with room for the blocks it begins and ends in.
constexpr uint64_t kPartBytes = 1 * MiB - 2 * kPageBytes;

// Slices from 0 on begin at places of a block that differ in none of the low bits that `unit` masks, because the
// slices' length does not either.
bool begin_alike(uint64_t slice_bytes, uint32_t n_slices, uint64_t unit) {
  return n_slices == 1 || slice_bytes % unit == 0;
}

uint64_t part_bytes(uint64_t slice_bytes, uint64_t unit_bytes) {
  if (unit_bytes == 0 || unit_bytes >= slice_bytes) return slice_bytes;
  return std::min(slice_bytes, std::max(unit_bytes, round_down(kPartBytes, unit_bytes)));
}

}  // namespace

SlotShape slot_shape(ByteRange range, uint32_t n_slices, const WeightShape& shape, BlockAlignment alignment) {
  const uint64_t slice_bytes = range.bytes / std::max(n_slices, 1u);
  const uint64_t in_memory_bytes = shape.slot_bytes > 0 ? shape.slot_bytes : slice_bytes;
  SlotShape slot;
  const uint64_t begin = range.offset % alignment.offset;  // of the first slice within its block
  const bool alike = begin_alike(slice_bytes, n_slices, alignment.offset);
  const bool shiftable = begin_alike(slice_bytes, n_slices, alignment.memory);
  if (shape.form == Form::kPlain && (alike || shiftable)) {
    // Shifted: what is read begins up to a block before the data, so the data begin a block into the slot, or as near
    // behind it as the disk takes addresses.
    slot.data_offset = alike ? begin : alignment.offset + begin % alignment.memory;
    const uint64_t end = slot.data_offset + slice_bytes;
    slot.room_bytes = round_up(alike ? end : end + alignment.offset - 1, kPageBytes);
    return slot;
  }
  slot.part_bytes = part_bytes(slice_bytes, shape.form == Form::kPlain ? 1 : shape.part_unit_bytes);
  slot.room_bytes = round_up(in_memory_bytes, kPageBytes);
  return slot;
}

}  // namespace spillway
