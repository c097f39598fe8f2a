// SPDX-License-Identifier: MIT
// What it takes to put streamed weights into the form of repacked kernels, on threads beside the one that reads. Pure.
#pragma once

#include <string_view>
#include <vector>

#include "hw/machine_profile.h"
#include "model/gguf_model.h"

namespace spillway {

// CPU time of one core for a byte of this model's weights, as its types are mixed; 0: none of them has such a form.
// `measured`: of the processor. Types that it does not tell of have the rates of a machine that was measured.
double repack_s_per_byte(const GgufModel& model, const std::vector<MatmulRate>& measured);

// Of a machine that was measured: what one core does in a second, in bytes of the file. 0: the type has no such form.
double typical_repack_bytes_per_s(std::string_view type);

// Of all cores, those that repack while the others compute: half, since a machine that waits for its disk computes with
// less than that. At least one.
unsigned repacking_threads(unsigned n_cores);

}  // namespace spillway
