// SPDX-License-Identifier: MIT
// Other machines that compute for us: ggml-rpc-server, through ggml's RPC backend and a relay of ours, which keeps a
// worker's failure from being this program's end (backend/worker_link).
#pragma once

#include <ggml-backend.h>

#include <memory>
#include <string>

#include "backend/worker_link.h"
#include "base/status.h"

namespace spillway {

struct Worker {
  ggml_backend_reg_t registry = nullptr;  // its devices; owned by ggml, for the life of the process
  double connect_s = 0;                   // 0: it was connected already
  // To be asked after everything that was computed. nullptr: this build's ggml speaks a protocol that the relay does
  // not know; a worker that fails then ends the process (model/ggml_abort.h's on_ggml_abort says why).
  std::shared_ptr<WorkerLink> link;
};

// The ggml-rpc-server at `address` (host:port). Answers may take `answer_s`; all that use the worker share its
// connection, and the limit that was set last.
//   InvalidArgument   no address      NotFound, Io   nobody answers there      Unavailable   it is no worker, or busy
//   Unsupported       ggml's RPC backend is missing, or the worker is of another version
Result<Worker> connect_worker(const std::string& address, double answer_s = 300);

}  // namespace spillway
