// SPDX-License-Identifier: MIT
// Constants of planning, each with its reason.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace spillway {

// Of what is free on the machine, kept for everybody else when no budget is given.
inline constexpr uint64_t kHeadroomBytesMin = 512 * MiB;
inline constexpr double kHeadroomShare = 0.08;

// The same of a machine that is not this one: nothing says what runs there beside, an operating system at least.
inline constexpr uint64_t kElsewhereHeadroomBytesMin = GiB;
inline constexpr double kElsewhereHeadroomShare = 1.0 / 8;

// What a load takes beside weights, buffers and its vocabulary, unless weights are left to the page cache: the
// libraries' own pages, which count in a budget for the whole process, threads' stacks, the reader's buffers, growth
// (84 to 98 MiB for three models). Of models with many tensors: loaded_program_bytes().
inline constexpr uint64_t kLoadedProgramBytes = 92 * MiB;

// Tokens of one pass over a prompt: llama.cpp's default, and the most that is tried. Longer passes than usual have to
// read a long prompt so much faster, each doubling some more, and may cost this share of an answer's speed.
inline constexpr uint32_t kPassTokensUsual = 512, kPassTokensMax = 4096;
inline constexpr double kLongPassGainMin = 0.2, kLongerPassGainMin = 0.1, kLongPassLossMax = 0.03;

// --- What predictions assume. docs/plan.md says where each figure was measured.

// CPU time that a streamed byte costs: the reader and the gate take 0.010 to 0.016 s per GB. The first use of what the
// disk has just written to memory may take more (0.11 by a profiler on another machine, whose memory came in pages of
// 4 KiB; nothing that could be seen here: bench-moe computed 0.155 s per token with 0.57 GB read, 0.157 with none).
inline constexpr double kStreamedCpu_s_per_byte = 0.06e-9;

// Of the disk's rate, what the ring gets, beside two threads that compute: 0.95 to 0.98 of what the disk gave into as
// much memory (bench-dense, 2.6 GiB/s, three runs).
inline constexpr double kRingDiskShare = 0.96;
// The same for experts, which are waited for more: nobody is in the reader's way then.
inline constexpr double kExpertsDiskShare = 0.97;

// A burst of expert reads that begins with the disk at rest, and ends with its queue running dry, takes so many reads'
// time longer than at full speed. 1 to 2 ms here, half of it beside computing since guesses reach several layers ahead.
inline constexpr double kReadsAlonePerBurst = 3;

// Of the experts that a layer misses, those that were guessed layers before: 0.92 to 0.95 in generated models, 0.89
// reported for Qwen3-30B-A3B (plan/expert_waits.h plays through what that hides).
inline constexpr double kGuessedRight = 0.9;
// As far as engine/router_lookahead.h guesses, where the pool has so many times the slots that the layers up to there
// use.
inline constexpr uint32_t kLayersAheadMax = 4;
inline constexpr double kSlotsToGuess = 2;

// The router of the next layer is asked early, and errs: so many of the bytes read are for nobody.
inline constexpr double kGuessedWrong = 0.12;
// Of what a token uses, read because the cache has not seen enough tokens yet; where nearly all fits, less.
inline constexpr double kLearningReads = 0.025, kLearningFromMissRate = 0.05;

// The kernel's mapping gets through this share of the disk's bandwidth: reading ahead of a dense model in file order
// (bench-dense within 2 GiB: 0.57 tok/s for 3.8 GiB each) ...
inline constexpr double kMappedSequentialShare = 0.9;
// ... one fault after the other where the router jumps, since each thread waits for its own and reads ahead what nobody
// wants (bench-moe within 2 GiB: 219 faults and 3.3 s per token) ...
inline constexpr double kMappedFaultShare = 0.08;
// ... and in a prompt over experts, in between.
inline constexpr double kMappedScanShare = 0.5;

// CPU time of the kernel for each byte that comes through the mapping: faults, pages taken and given back (4 KiB pages
// made and dropped take 0.4 s per GB here).
inline constexpr double kMappedCpu_s_per_byte = 0.4e-9;

// When nothing was measured: a SATA SSD.
inline constexpr double kDiskGuessBytes_per_s = 0.5e9;

// Starting a layer's operations on a device.
inline constexpr double kDeviceLayer_s = 20e-6;
// CPU time, shared by the threads, of what a layer does for each token beside its products with weights: attention over
// some hundred tokens, rotations, the router, waits between threads. Resident models take so much longer than their
// bytes over the rate of products (with two threads 0.3 of 2 ms of a layer, of which the products' own norms and sums
// are in that rate), and so do prompts.
inline constexpr double kHostLayerCpu_s = 300e-6;
// The same for the CPU, of wall time: a dozen operations that the threads begin and end together. What resident models
// take beyond the above with their weights in huge pages (three models: 0.02 to 0.15 ms of a layer).
inline constexpr double kHostLayerStart_s = 75e-6;
// Handing activations to another place in the same machine.
inline constexpr double kHop_s = 20e-6;
// To or from a worker. Activations, positions, the mask, rows of the cache, the order to compute: each is a message,
// and all of them pass our relay. Models of 2 and 8 layers took 2.6 and 4.4 ms more of a token on a worker with the
// same processor and round trips of 0.19 ms, 1.8 of which the 6 layers between them took.
inline constexpr double kWorkerHopRoundTrips = 6;

// Left free on each device: its driver, fragmentation.
inline constexpr uint64_t kDeviceHeadroomBytes = 256 * MiB;
// Of memory that a device shares with the CPU, what drivers let it have.
inline constexpr double kUnifiedShare = 0.75;

// Memory that stays available while the budget follows what others take: a share of the limit, 20 MiB of 2 GiB. Loading
// leaves 3 % of a cgroup's limit, so a run alone in one is not disturbed.
inline constexpr double kReserveShare = 0.01;
inline constexpr uint64_t kReserveBytesMin = 8 * MiB;
inline constexpr uint64_t kReserveBytesMax = 256 * MiB;

// A loss smaller than this within so long is noise: the kernel counts in batches. A larger one is expected to go on for
// so long: a process that touches new memory takes 1-2 GB/s, and ours goes back at about the same rate.
inline constexpr uint64_t kLossBytesMin = 8 * MiB;
inline constexpr double kLossWindow_s = 0.03;
inline constexpr double kLossAhead_s = 0.25;

// Of the time between two samples, spent standing still.
inline constexpr double kStalledShare = 0.05;

// How long nobody may have pressed before memory is taken again, and how often then: a compiler started anew for each
// file must not make the cache breathe.
inline constexpr double kCalm_s = 2;
inline constexpr double kGrowEvery_s = 0.25;

// The least does not fit for so long: requests are refused. Shorter, a process that ends frees it again.
inline constexpr double kShortAfter_s = 0.5;

}  // namespace spillway
