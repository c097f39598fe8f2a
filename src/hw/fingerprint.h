// SPDX-License-Identifier: MIT
// What a measured profile is true of. As text that people can read, so that a profile that does not fit can say why.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace spillway {

struct MachineIdentity {
  std::string cpu;
  unsigned n_threads = 0;
  uint64_t ram_bytes = 0;
  std::string disk;                  // os volume_of(): mount point and disk; empty: none measured
  std::string ggml;                  // version and commit
  std::vector<std::string> devices;  // what ggml finds besides the CPU
};

// "cpu: ...; threads: 8; ...". Memory is rounded: kernels of one machine differ by what they keep for themselves. The
// disk is named by a hash, since a profile is shown around and serial numbers should not be.
std::string fingerprint_of(const MachineIdentity& identity);

// What differs, for people ("threads: 8 then, 4 now"); empty when nothing does.
std::string fingerprint_difference(const std::string& then, const std::string& now);

}  // namespace spillway
