// SPDX-License-Identifier: MIT
// What a token and a pass over a prompt cost, from the work and the reads they cause. Pure: seconds from numbers.
//
// Reading and computing overlap where the reads are certain; what remains is said in words, so that a person knows what
// to buy or to turn down.
#pragma once

#include <cstdint>
#include <string>

namespace spillway {

struct DiskRates {
  double sequential_bytes_per_s = 0, scattered_bytes_per_s = 0;
  double read_bytes = 0;  // of one read
};

// Computing alone, all weights where they are computed with.
struct ComputeCost {
  double host_token_s = 0;         // on the CPU, experts included
  double host_expert_token_s = 0;  // of that, experts
  double device_token_s = 0;       // on all devices, one after the other
  double transfer_token_s = 0;     // between places
  double pass_s = 0;               // a whole pass over n_pass_tokens of a prompt
  uint64_t n_pass_tokens = 0;
  uint64_t n_cores = 1;  // reading takes a part of one
  // Of streamed weights with repacked kernels: CPU time of one core for a byte, and how many do that at once.
  double repack_s_per_byte = 0;
  uint64_t n_repacking = 1;

  double token_s() const { return host_token_s + device_token_s + transfer_token_s; }
};

// The weights that the CPU computes with.
struct HostWeights {
  double dense_bytes = 0;         // all of them for every token
  double expert_bytes = 0;        // of which a token uses
  double expert_token_bytes = 0;  // this much
  uint64_t n_expert = 0, n_expert_used = 0;
  uint64_t n_expert_layers = 0;
  uint64_t n_router_layers = 0;  // of those, whose router is there too: guesses need it
};

// What does not stay in memory.
struct Streamed {
  double ring_bytes = 0;  // dense weights, read anew in each pass
  double pool_bytes = 0;  // memory for experts
};

struct Cost {
  double seconds = 0;
  double bytes_read = 0;
  double hit_rate = 1;  // of the experts that are asked for
  std::string bound;    // what the time goes into
};

Cost resident_token(const ComputeCost& compute);
Cost streamed_token(const ComputeCost& compute, const HostWeights& host, const Streamed& streamed,
                    const DiskRates& disk);
// `cache_bytes`: page cache that the weights can have.
Cost mapped_token(const ComputeCost& compute, const HostWeights& host, double cache_bytes, const DiskRates& disk);

// One pass over n_pass_tokens of a prompt.
Cost resident_pass(const ComputeCost& compute);
Cost streamed_pass(const ComputeCost& compute, const HostWeights& host, const Streamed& streamed,
                   const DiskRates& disk);
Cost mapped_pass(const ComputeCost& compute, const HostWeights& host, double cache_bytes, const DiskRates& disk);

}  // namespace spillway
