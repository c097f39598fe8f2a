// SPDX-License-Identifier: MIT
#include "plan/kernels.h"

#include "base/bytes.h"

namespace spillway {
namespace {

// A worker thread of four cores' eighth or more keeps up with a disk of 2 to 3 GB/s.
constexpr unsigned kCoresThatKeepUp = 4;

// For program, context and the buffers that repacking reads into; in less, weights stay as they are.
constexpr uint64_t kBesideBytes = 512 * MiB;

// A quarter is for larger contexts and for others.
bool fits(uint64_t weight_bytes, uint64_t memory_bytes) {
  return memory_bytes > kBesideBytes && weight_bytes <= (memory_bytes - kBesideBytes) / 4 * 3;
}

}  // namespace

const char* kernels_name(Kernels kernels) {
  switch (kernels) {
    case Kernels::kPlain:
      return "plain";
    case Kernels::kRepacked:
      return "repacked";
    case Kernels::kAuto:
      break;
  }
  return "auto";
}

std::optional<Kernels> kernels_by_name(std::string_view name) {
  for (const Kernels kernels : {Kernels::kAuto, Kernels::kPlain, Kernels::kRepacked})
    if (name == kernels_name(kernels)) return kernels;
  return std::nullopt;
}

Result<Kernels> choose_kernels(const KernelQuestion& question) {
  const bool as_in_file = question.in_page_cache || question.on_devices;
  if (question.wanted == Kernels::kRepacked && as_in_file)
    return error(
        Code::kInvalidArgument,
        question.on_devices
            ? "--kernels repacked is for models that the processor computes alone; --gpu-layers 0 makes it so"
            : "--kernels repacked needs weights in memory of Spillway's; --mode mmap leaves them to the kernel");
  if (question.wanted != Kernels::kAuto) return question.wanted;
  if (as_in_file) return Kernels::kPlain;
  const bool keeps_up = question.n_cores >= kCoresThatKeepUp && question.memory_bytes >= 2 * kBesideBytes;
  return keeps_up || fits(question.weight_bytes, question.memory_bytes) ? Kernels::kRepacked : Kernels::kPlain;
}

}  // namespace spillway
