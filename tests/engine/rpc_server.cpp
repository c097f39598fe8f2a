// SPDX-License-Identifier: MIT
#include "engine/rpc_server.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <thread>
#include <utility>

#include "os/tcp_stream.h"

namespace spillway {
namespace {

constexpr int kTries = 400;
constexpr std::chrono::milliseconds kBetweenTries{25};

[[noreturn]] void become(const std::string& command) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const int null = ::open("/dev/null", O_RDWR);
  for (int fd = 0; fd < 3; ++fd) ::dup2(null, fd);
  ::execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
  ::_exit(127);
}

}  // namespace

uint16_t free_port() {
  const auto listener = TcpListener::open();
  return listener ? listener->port() : 0;
}

std::unique_ptr<RpcServer> RpcServer::start(const std::string& command, uint16_t port) {
  if (port == 0) port = free_port();
  const std::string whole = command + " -p " + std::to_string(port);
  const pid_t pid = ::fork();
  if (pid < 0) return nullptr;
  if (pid == 0) become(whole);
  std::unique_ptr<RpcServer> server(new RpcServer(pid, port));
  for (int i = 0; i < kTries; ++i) {
    if (try_tcp_connect({.host = "127.0.0.1", .port = port}, 1)) return server;
    if (::waitpid(pid, nullptr, WNOHANG) == pid) {
      server->pid_ = -1;
      return nullptr;
    }
    std::this_thread::sleep_for(kBetweenTries);
  }
  return nullptr;
}

RpcServer::~RpcServer() { end(); }

void RpcServer::signal(int number) const {
  if (pid_ > 0) ::kill(pid_, number);
}

void RpcServer::end() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(std::exchange(pid_, -1), nullptr, 0);
}

}  // namespace spillway
