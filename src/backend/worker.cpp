// SPDX-License-Identifier: MIT
#include "backend/worker.h"

#include <fmt/format.h>
#include <ggml-rpc.h>

#include <map>

#include "backend/llama_handles.h"
#include "backend/worker_protocol.h"
#include "base/mutex.h"
#include "model/ggml_log.h"
#include "os/tcp.h"

namespace spillway {
namespace {

constexpr double kConnect_s = 3;
constexpr bool kKnownProtocol =
    RPC_PROTO_MAJOR_VERSION == kWorkerProtocolMajor && RPC_PROTO_MINOR_VERSION == kWorkerProtocolMinor;

// The link to a worker that was not lost. ggml remembers addresses for the life of the process, so a link is kept and
// used again; a lost one keeps its address too, and the worker is given a new one. So it is where answers are doubted
// that ggml remembers, once nobody but this table has the link: a worker serves one connection at a time.
Result<std::shared_ptr<WorkerLink>> link_to(const TcpAddress& worker) {
  static Mutex mutex;
  static std::map<std::string, std::shared_ptr<WorkerLink>> links;
  const MutexLock lock(mutex);
  std::shared_ptr<WorkerLink>& link = links[worker.text()];
  const bool of_no_use = link == nullptr || !link->check() || (link->doubted() && link.use_count() == 1);
  if (of_no_use) {
    ASSIGN_OR_RETURN(link, WorkerLink::open(worker));
  }
  return link;
}

Result<ggml_backend_reg_t> register_server(const std::string& endpoint) {
  RETURN_IF_ERROR(start_llama());
  ggml_backend_reg_t rpc = ggml_backend_reg_by_name("RPC");
  using AddServer = ggml_backend_reg_t (*)(const char*);
  auto* add_server =
      rpc == nullptr
          ? nullptr
          : reinterpret_cast<AddServer>(ggml_backend_reg_get_proc_address(rpc, "ggml_backend_rpc_add_server"));
  if (add_server == nullptr)
    return error(Code::kUnsupported, "ggml's RPC backend (libggml-rpc) is not installed, so workers can not be used");
  return add_server(endpoint.c_str());
}

}  // namespace

Result<Worker> connect_worker(const std::string& address, double answer_s) {
  // 1. Does anybody answer, and is it a worker of our version?
  Worker worker;
  ASSIGN_OR_RETURN(const TcpAddress tcp, parse_tcp_address(address));
  if (kKnownProtocol) {
    ASSIGN_OR_RETURN(worker.link, link_to(tcp));
    worker.link->set_answer_limit(answer_s);
    if (!worker.link->in_use()) {
      ASSIGN_OR_RETURN(worker.connect_s, worker.link->greet());
    }
  } else {
    ASSIGN_OR_RETURN(worker.connect_s, try_tcp_connect(tcp, kConnect_s));
  }

  // 2. Its devices.
  const GgmlErrorCapture errors;
  ASSIGN_OR_RETURN(worker.registry, register_server(worker.link != nullptr ? worker.link->endpoint() : tcp.text()));
  if (worker.link != nullptr) RETURN_IF_ERROR(worker.link->check());
  if (worker.registry == nullptr || ggml_backend_reg_dev_count(worker.registry) == 0)
    return error(Code::kUnavailable, fmt::format("worker {} has no device{}{}", address,
                                                 errors.first_error().empty() ? "" : ": ", errors.first_error()));
  return worker;
}

}  // namespace spillway
