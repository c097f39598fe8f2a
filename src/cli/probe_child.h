// SPDX-License-Identifier: MIT
// Measures a device or a worker in a process of its own: this program again, as `spillway profile --measure-device
// NAME` or `--measure-worker HOST:PORT`. A GPU driver that hangs or crashes, or ggml's RPC client, which ends its
// process when a connection breaks, then costs one figure and not the program.
#pragma once

#include <functional>
#include <string>

#include "base/status.h"
#include "probe/device_probe.h"

namespace spillway {

struct ProbeTime {
  double measure_s = 4;  // about how long measuring takes
  double limit_s = 9;    // when the process is ended, starting it included
};

// `on_tick` is called a few times a second. The outcomes of probe/device_probe, and:
//   Internal   the process broke down or was still not done at the limit; the message says so
Result<DeviceFigures> measure_device_apart(const std::string& name, const ProbeTime& time,
                                           const std::function<void()>& on_tick);
Result<WorkerFigures> measure_worker_apart(const std::string& address, const ProbeTime& time,
                                           const std::function<void()>& on_tick);

// What that process prints.
std::string device_answer(const DeviceFigures& figures);
std::string worker_answer(const WorkerFigures& figures);

}  // namespace spillway
