// SPDX-License-Identifier: MIT
#include "engine/worker.h"

#include <fmt/format.h>

#include "engine/llama_handles.h"
#include "model/ggml_log.h"
#include "os/tcp.h"

namespace spillway {
namespace {

constexpr double kConnect_s = 3;

}  // namespace

Result<Worker> connect_worker(const std::string& address) {
  // 1. Does anybody answer? ggml's client takes a refused connection well and a silent one for ever.
  Worker worker;
  ASSIGN_OR_RETURN(const TcpAddress tcp, parse_tcp_address(address));
  ASSIGN_OR_RETURN(worker.connect_s, try_tcp_connect(tcp, kConnect_s));
  RETURN_IF_ERROR(start_llama());
  ggml_backend_reg_t rpc = ggml_backend_reg_by_name("RPC");
  using AddServer = ggml_backend_reg_t (*)(const char*);
  auto* add_server =
      rpc == nullptr
          ? nullptr
          : reinterpret_cast<AddServer>(ggml_backend_reg_get_proc_address(rpc, "ggml_backend_rpc_add_server"));
  if (add_server == nullptr)
    return error(Code::kUnsupported, "ggml's RPC backend (libggml-rpc) is not installed, so workers can not be used");

  // 2. Is it a worker that speaks our version?
  const GgmlErrorCapture errors;
  worker.registry = add_server(tcp.text().c_str());
  if (worker.registry == nullptr || ggml_backend_reg_dev_count(worker.registry) == 0)
    return error(Code::kInternal, fmt::format("{}: no worker of this version of ggml{}{}", address,
                                              errors.first_error().empty() ? "" : ": ", errors.first_error()));
  return worker;
}

}  // namespace spillway
