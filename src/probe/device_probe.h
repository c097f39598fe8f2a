// SPDX-License-Identifier: MIT
// What ggml can compute with on this machine, and how fast: the CPU, the devices that its backends report, and other
// machines that offer theirs (ggml's RPC backend). Used by one thread at a time; loads the backends on first use.
//
// A GPU driver or an RPC connection that fails may end the process: call measure_device and measure_worker in a child
// (cli/probe_child).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/status.h"
#include "hw/machine_profile.h"

namespace spillway {

// Called between measurements; false stops them.
using ProbeProgress = std::function<bool(double fraction, const std::string& what)>;

struct GgmlInventory {
  std::string version;               // of ggml, with its commit
  std::vector<DeviceFacts> devices;  // with memory of their own or a share of the machine's; nothing measured yet
};
//   Unsupported   no CPU backend was found
Result<GgmlInventory> ggml_inventory();

struct CpuFigures {
  std::vector<MatmulRate> matmul;
  std::vector<std::string> doubts;
};

// The types that models are made of, as streamed weights are: not repacked. Two passes over the most used ones. Takes
// about four seconds, and on a slow or busy processor about `time_s`: one type is measured whatever it takes, those
// that no time is left for are missing, and a doubt says so.
//   Unsupported   no CPU backend was found      Cancelled   progress said so
Result<CpuFigures> measure_cpu(unsigned n_threads, double time_s, const ProbeProgress& progress = {});

struct DeviceFigures {
  DeviceFacts facts;
  std::vector<std::string> doubts;
};

// Memory, upload and the most used types, of the device that ggml calls `name`. Takes about `time_s`; types that no
// time is left for are missing, and a doubt says so.
//   NotFound   no such device      Internal   it can not be used      Cancelled   progress said so
Result<DeviceFigures> measure_device(const std::string& name, double time_s, const ProbeProgress& progress = {});

struct WorkerFigures {
  std::vector<WorkerFacts> workers;  // one for each device that it offers
  std::vector<std::string> doubts;
};

// The devices of the ggml-rpc-server at `address` (host:port), as measure_device, and the way there.
//   InvalidArgument   no address      NotFound, Io   nobody answers there      Unsupported   ggml's RPC backend is
//   missing Internal          it is no such server, or of another version
Result<WorkerFigures> measure_worker(const std::string& address, double time_s, const ProbeProgress& progress = {});

}  // namespace spillway
