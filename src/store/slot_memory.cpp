// SPDX-License-Identifier: MIT
#include "store/slot_memory.h"

#include <utility>

#include "base/bytes.h"
#include "os/machine.h"

namespace spillway {
namespace {

constexpr int32_t kNotYet = -2;  // memory that the ring does not know

}  // namespace

int32_t SlotMemory::number_of(SlotId slot, std::byte* staging, uint64_t bytes) {
  const auto index = static_cast<uint32_t>(slot);
  if (index >= numbers_.size()) numbers_.resize(index + 1, kNotYet);
  if (numbers_[index] == kNotYet) {
    // The system clears these pages now; that is no cost of streaming, and in a virtual machine it can be the larger
    // one.
    const double cpu_start_s = thread_cpu_s();
    numbers_[index] = ring_.register_memory(staging, bytes);
    if (numbers_[index] < 0)
      for (uint64_t at = 0; at < bytes; at += kPageBytes) staging[at] = std::byte{0};
    setup_cpu_s_ += thread_cpu_s() - cpu_start_s;
  }
  return numbers_[index];
}

void SlotMemory::forget(SlotId slot) {
  const auto index = static_cast<uint32_t>(slot);
  if (index >= numbers_.size() || numbers_[index] == kNotYet) return;
  ring_.unregister_memory(numbers_[index]);
  numbers_[index] = kNotYet;
}

double SlotMemory::take_setup_cpu_s() { return std::exchange(setup_cpu_s_, 0.0); }

}  // namespace spillway
