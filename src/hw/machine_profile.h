// SPDX-License-Identifier: MIT
// What a machine can do, as numbers: measured here (`spillway profile`), or given for a machine one does not have
// (`spillway plan --profile`). Plain values; who measures them and where they are kept is elsewhere.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace spillway {

// Matrix times vector (decode) and matrix times matrix (prefill) for one type of weights, all threads, on one device.
struct MatmulRate {
  std::string type;                // ggml's name: "q4_K", "f16"
  double decode_bytes_per_s = 0;   // bytes of weights multiplied with one token
  double prefill_flops_per_s = 0;  // 2 * rows * columns * tokens per second, in batches
  // The same where a router chooses the matrix for each token (8 experts, 2 used); 0: not measured.
  double expert_prefill_flops_per_s = 0;
  // Bytes of such weights that one core of the processor puts into the form of repacked kernels. 0: not measured; or,
  // where another type of the profile has a rate, that there is no such form.
  double repack_bytes_per_s = 0;
};

struct DiskFacts {
  std::string volume;  // what it was measured on: a mount point or a device; free text in shipped profiles
  double sequential_bytes_per_s = 0;  // direct reads in file order
  double scattered_bytes_per_s = 0;   // direct reads of `read_bytes` at random offsets
  uint32_t read_bytes = 0;            // size and number of reads in flight that gave the best figure
  uint32_t depth = 0;
  bool direct = true;  // the page cache was bypassed
};

struct DeviceFacts {
  std::string name, description, backend;  // as ggml names them: "Vulkan0", "NVIDIA ...", "Vulkan"
  uint64_t memory_bytes_total = 0, memory_bytes_free = 0;
  bool shares_ram = false;        // unified memory: its memory is the machine's RAM
  double upload_bytes_per_s = 0;  // host to device
  std::vector<MatmulRate> matmul;
};

// Another machine that computes for us (ggml's RPC backend).
struct WorkerFacts {
  std::string address;  // host:port
  double link_bytes_per_s = 0, link_latency_s = 0;
  DeviceFacts device;
};

struct MachineProfile {
  std::string name;             // "this machine", or that of a shipped profile
  std::string source;           // where the numbers come from: "measured", or a reference
  std::string fingerprint;      // of the hardware and libllama it was measured with; empty in shipped profiles
  int64_t measured_unix_s = 0;  // 0: not measured
  std::string cpu;
  uint32_t cores = 0;
  uint64_t ram_bytes_total = 0;
  double ram_bytes_per_s = 0;      // reading, all threads
  std::vector<MatmulRate> matmul;  // on the CPU
  std::vector<DiskFacts> disks;    // the one with the models first
  std::vector<DeviceFacts> devices;
  std::vector<WorkerFacts> workers;
  std::vector<std::string> doubts;  // why a figure may be wrong (throttled, page cache warm, passes disagree)
};

}  // namespace spillway
