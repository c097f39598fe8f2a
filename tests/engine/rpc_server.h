// SPDX-License-Identifier: MIT
// llama.cpp's own ggml-rpc-server on this machine, for as long as this lives: a worker.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

namespace spillway {

class RpcServer {
 public:
  // `command`: a shell's, to which " -p PORT" is added; `port` 0: one that is free. nullptr: it does not come up.
  static std::unique_ptr<RpcServer> start(const std::string& command, uint16_t port = 0);
  ~RpcServer();  // kills it
  RpcServer(const RpcServer&) = delete;
  RpcServer& operator=(const RpcServer&) = delete;

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  uint16_t port() const { return port_; }
  void signal(int number) const;
  void end();  // kills it and waits

 private:
  RpcServer(pid_t pid, uint16_t port) : pid_(pid), port_(port) {}
  pid_t pid_;
  uint16_t port_;
};

// A port that nobody listens at, for the moment.
uint16_t free_port();

}  // namespace spillway
