// SPDX-License-Identifier: MIT
// Other machines that compute for us: ggml-rpc-server, through ggml's RPC backend. A connection that fails later ends
// the process (ggml's client aborts), so this checks beforehand what can be checked.
#pragma once

#include <ggml-backend.h>

#include <string>

#include "base/status.h"

namespace spillway {

struct Worker {
  ggml_backend_reg_t registry = nullptr;  // its devices; owned by ggml, for the life of the process
  double connect_s = 0;
};

// The ggml-rpc-server at `address` (host:port).
//   InvalidArgument   no address      NotFound, Io   nobody answers there      Unsupported   ggml's RPC backend is
//   missing           Internal        it is no such server, or of another version
Result<Worker> connect_worker(const std::string& address);

}  // namespace spillway
