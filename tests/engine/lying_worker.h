// SPDX-License-Identifier: MIT
// A worker that stands before a real one, passes everything on, and lies once.
#pragma once

#include <atomic>
#include <cstddef>
#include <string>
#include <thread>
#include <vector>

#include "os/tcp_stream.h"

namespace spillway {

// Instead of the `nth` answer to `command`, counted from 1.
struct Lie {
  uint8_t command = 0;
  int nth = 1;
  std::vector<std::byte> answer;
};

class LyingWorker {
 public:
  LyingWorker(uint16_t real_port, Lie lie);
  ~LyingWorker();
  LyingWorker(const LyingWorker&) = delete;
  LyingWorker& operator=(const LyingWorker&) = delete;

  std::string address() const { return "127.0.0.1:" + std::to_string(listener_.port()); }
  bool has_lied() const { return n_answers_ >= lie_.nth; }

 private:
  void loop();
  bool relay(TcpStream& client, TcpStream& real);

  const uint16_t real_port_;
  const Lie lie_;
  std::atomic<int> n_answers_ = 0;  // to the command
  StopEvent stop_;
  TcpListener listener_;
  std::thread thread_;
};

}  // namespace spillway
