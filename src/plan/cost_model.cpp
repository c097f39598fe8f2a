// SPDX-License-Identifier: MIT
#include "plan/cost_model.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.h"
#include "plan/expert_locality.h"
#include "plan/expert_waits.h"
#include "plan/tuning.h"

namespace spillway {
namespace {

std::string size_text(double bytes) { return format_bytes(static_cast<uint64_t>(std::max(bytes, 0.0))); }

// The largest part of computing, in words.
std::string compute_bound(const ComputeCost& compute) {
  if (compute.transfer_token_s > std::max(compute.host_token_s, compute.device_token_s))
    return "passing activations between places";
  if (compute.device_token_s > compute.host_token_s) return "the device's memory bandwidth";
  return "the CPU's matrix products (memory bandwidth)";
}

std::string read_bound(double bytes, const char* how) {
  return fmt::format("reading {} per token from the disk{}", size_text(bytes), how);
}

// What a token reads when it misses so much of its experts: that, what is guessed wrong, and what a cache that still
// learns does not hold yet.
double expert_bytes_read(const HostWeights& host, double miss_rate) {
  const double learning = std::min(1.0, miss_rate / kLearningFromMissRate);
  return host.expert_token_bytes * std::min(1.0, miss_rate * (1 + kGuessedWrong) + kLearningReads * learning);
}

// A token that computes and reads ahead for `beside_s` and misses so much of its experts.
double with_misses_s(const ComputeCost& compute, const HostWeights& host, const Streamed& streamed,
                     const DiskRates& disk, double missed_bytes, double beside_s) {
  const auto n_layers = static_cast<double>(std::max<uint64_t>(host.n_expert_layers, 1));
  const auto n_used = static_cast<double>(std::max<uint64_t>(host.n_expert_used, 1));
  const double expert_bytes = host.expert_token_bytes / n_layers / n_used;
  const double bytes_per_s = disk.scattered_bytes_per_s * kExpertsDiskShare;
  const double layers_held = streamed.pool_bytes / (expert_bytes * n_used);
  const double layers_ahead = std::clamp(layers_held / kSlotsToGuess - 1, 0.0, static_cast<double>(kLayersAheadMax));
  return token_with_waits_s(
      {.n_layers = host.n_expert_layers,
       .n_expert_used = host.n_expert_used,
       .miss_rate = missed_bytes / host.expert_token_bytes,
       .read_s = expert_bytes / bytes_per_s,
       .begin_s = kReadsAlonePerBurst * disk.read_bytes / bytes_per_s,
       .layer_s = beside_s / n_layers,
       .products_share = std::min(1.0, compute.host_expert_token_s / std::max(compute.token_s(), 1e-12)),
       .layers_ahead = static_cast<uint32_t>(layers_ahead),
       .guessed_share = kGuessedRight * static_cast<double>(host.n_router_layers) / n_layers});
}

// What arrives where it is computed with: repacking goes on beside reading, and the slower of the two decides.
DiskRates as_it_arrives(const ComputeCost& compute, DiskRates disk) {
  if (compute.repack_s_per_byte <= 0) return disk;
  const double repacked_bytes_per_s = static_cast<double>(compute.n_repacking) / compute.repack_s_per_byte;
  disk.sequential_bytes_per_s = std::min(disk.sequential_bytes_per_s, repacked_bytes_per_s / kRingDiskShare);
  disk.scattered_bytes_per_s = std::min(disk.scattered_bytes_per_s, repacked_bytes_per_s / kExpertsDiskShare);
  return disk;
}

// Of all cores' time, what `bytes` that are streamed take: the reader has its part of a core, and what has just been
// read is slower to multiply with.
double streaming_s(const ComputeCost& compute, double bytes) {
  return bytes * (kStreamedCpu_s_per_byte + compute.repack_s_per_byte) / static_cast<double>(compute.n_cores);
}

}  // namespace

Cost resident_token(const ComputeCost& compute) { return {compute.token_s(), 0, 1, compute_bound(compute)}; }

Cost streamed_token(const ComputeCost& compute, const HostWeights& host, const Streamed& streamed,
                    const DiskRates& reads) {
  Cost cost;
  const DiskRates disk = as_it_arrives(compute, reads);
  cost.hit_rate = host.expert_bytes > 0
                      ? expert_hit_rate(host.n_expert, host.n_expert_used, streamed.pool_bytes / host.expert_bytes)
                      : 1;
  const double missed_bytes = expert_bytes_read(host, 1 - cost.hit_rate);
  cost.bytes_read = streamed.ring_bytes + missed_bytes;
  const double ring_s = streamed.ring_bytes / (disk.sequential_bytes_per_s * kRingDiskShare);
  const double missed_s = missed_bytes / (disk.scattered_bytes_per_s * kExpertsDiskShare);
  const double compute_s = compute.token_s() + streaming_s(compute, cost.bytes_read);
  // Ring reads are certain and run beside all computing; the disk is busy all the time at best.
  const double beside_s = std::max(ring_s, compute_s);
  cost.seconds = beside_s;
  if (missed_bytes > 0)
    cost.seconds = std::max(ring_s + missed_s, with_misses_s(compute, host, streamed, disk, missed_bytes, beside_s));
  if (ring_s + missed_s > compute_s)
    cost.bound = read_bound(cost.bytes_read, missed_bytes > streamed.ring_bytes ? ", experts as the router asks" : "");
  else
    cost.bound = compute_bound(compute);
  return cost;
}

Cost mapped_token(const ComputeCost& compute, const HostWeights& host, double cache_bytes, const DiskRates& disk) {
  Cost cost;
  const double all_bytes = host.dense_bytes + host.expert_bytes;
  if (all_bytes <= cache_bytes) return resident_token(compute);
  // Dense weights go round in a cycle. The page cache drops what was used longest ago, which is what comes next:
  // nothing hits until all of it fits. Used for every token, they drive out experts.
  const bool dense_stays = host.dense_bytes <= cache_bytes && host.expert_bytes > 0;
  const double dense_read_bytes = dense_stays ? 0 : host.dense_bytes;
  double missed_bytes = 0;
  if (host.expert_bytes > 0) {
    const double share = std::max(cache_bytes - host.dense_bytes, 0.0) / host.expert_bytes;
    cost.hit_rate = expert_hit_rate_lru(host.n_expert, host.n_expert_used, share);
    missed_bytes = host.expert_token_bytes * (1 - cost.hit_rate);
  }
  cost.bytes_read = dense_read_bytes + missed_bytes;
  const double dense_s = dense_read_bytes / (disk.sequential_bytes_per_s * kMappedSequentialShare);
  const double missed_s = missed_bytes / (disk.sequential_bytes_per_s * kMappedFaultShare);
  const double compute_s =
      compute.token_s() + cost.bytes_read * kMappedCpu_s_per_byte / static_cast<double>(compute.n_cores);
  cost.seconds = std::max(compute_s, dense_s) + missed_s;
  if (missed_s > std::max(dense_s, compute_s))
    cost.bound = fmt::format("page faults: {} per token, {:.0f} % of the disk's bandwidth", size_text(missed_bytes),
                             100 * kMappedFaultShare);
  else if (dense_s > compute_s)
    cost.bound = read_bound(cost.bytes_read, "; the page cache drops what comes next");
  else
    cost.bound = compute_bound(compute);
  return cost;
}

Cost resident_pass(const ComputeCost& compute) { return {compute.pass_s, 0, 1, "computing"}; }

Cost streamed_pass(const ComputeCost& compute, const HostWeights& host, const Streamed& streamed,
                   const DiskRates& reads) {
  Cost cost;
  const DiskRates disk = as_it_arrives(compute, reads);
  const double touched = experts_touched(host.n_expert, host.n_expert_used, compute.n_pass_tokens);
  // Every expert that is touched and not among those in memory; popularity does not help when nearly all are.
  const double share = host.expert_bytes > 0 ? std::min(1.0, streamed.pool_bytes / host.expert_bytes) : 1;
  cost.hit_rate = share;
  cost.bytes_read = streamed.ring_bytes + host.expert_bytes * touched * (1 - share);
  const double read_s = cost.bytes_read / disk.sequential_bytes_per_s;
  const double compute_s = compute.pass_s + streaming_s(compute, cost.bytes_read);
  cost.seconds = std::max(compute_s, read_s);
  cost.bound = read_s > compute_s
                   ? fmt::format("reading {} for each pass of {}", size_text(cost.bytes_read), compute.n_pass_tokens)
                   : "computing; reads are hidden";
  return cost;
}

Cost mapped_pass(const ComputeCost& compute, const HostWeights& host, double cache_bytes, const DiskRates& disk) {
  Cost cost;
  const double touched = experts_touched(host.n_expert, host.n_expert_used, compute.n_pass_tokens);
  const double used_bytes = host.dense_bytes + host.expert_bytes * touched;
  if (host.dense_bytes + host.expert_bytes <= cache_bytes) return resident_pass(compute);
  // A pass touches nearly everything once: a cycle again.
  const bool dense_stays = host.dense_bytes <= cache_bytes && host.expert_bytes > 0;
  cost.bytes_read = used_bytes - (dense_stays ? host.dense_bytes : 0);
  cost.hit_rate = 0;
  const double share = host.expert_bytes > 0 ? kMappedScanShare : kMappedSequentialShare;
  const double read_s = cost.bytes_read / (disk.sequential_bytes_per_s * share);
  cost.seconds = compute.pass_s + (host.expert_bytes > 0 ? read_s : std::max(0.0, read_s - compute.pass_s));
  cost.bound = read_s > compute.pass_s ? "page faults" : "computing";
  return cost;
}

}  // namespace spillway
