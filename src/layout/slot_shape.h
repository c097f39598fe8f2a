// SPDX-License-Identifier: MIT
// How a tensor's slices lie in memory that is read into with direct I/O. Pure.
//
// All slices of a tensor begin at the same place of their slots, since an operation takes them as one tensor whose
// slices are a slot apart. Where a slice's first byte comes to lie is decided by the file: what is read begins at a
// multiple of the disk's block, and goes to an address that the disk takes. Three ways, in order of preference:
//     in place   slices begin alike within a block (as a rule: they are multiples of it), or may be read to an address
//                shifted so that they do, because the disk takes it
//     buffered   the file is read through the page cache, to any address
//     staged     otherwise, and where weights are put into another form: read into a buffer, and from there in parts
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "layout/tier.h"

namespace spillway {

// Of what reads of a file have to be multiples: as os/file.h's ReadAlignment.
struct BlockAlignment {
  uint64_t offset = kPageBytes, memory = kPageBytes;
};

// One tensor as the file and its kernels have it.
struct WeightShape {
  Form form = Form::kPlain;
  uint64_t slot_bytes = 0;       // of one slice in memory; 0: as many as in the file
  uint64_t part_unit_bytes = 1;  // a slice can be put in place in parts of a multiple of this; 0: only as a whole
};

struct SlotShape {
  uint64_t data_offset = 0;  // of a slice's first byte within a slot
  uint64_t room_bytes = 0;   // of a slot, a multiple of 4096
  uint64_t part_bytes = 0;   // 0: read in place; else staged in parts of so many bytes of the file
};

// Of `n_slices` slices, back to back in `range`.
SlotShape slot_shape(ByteRange range, uint32_t n_slices, const WeightShape& shape, BlockAlignment alignment);

}  // namespace spillway
