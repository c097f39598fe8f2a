// SPDX-License-Identifier: MIT
// One worker as ggml reaches it: through a relay of ours on this machine. ggml's client ends the process when its
// server goes away or answers what it should not, and waits for ever for one that is silent. The relay sees that first,
// remembers the reason, and answers in the server's place until ggml hangs up. What was computed with such answers is
// worth nothing: code that computes over a link asks check() afterwards, before believing anything.
//
// The price: bytes go through this machine's memory once more, a command takes one more hand-over (tens of
// microseconds), and RDMA is not offered.
//
// Threads: one of its own relays; all calls may come from any thread. Outlives what ggml does over endpoint().
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "backend/worker_protocol.h"
#include "base/mutex.h"
#include "base/status.h"
#include "os/tcp_stream.h"

namespace spillway {

class WorkerLink {
 public:
  //   Io   no port or thread is to be had here
  static Result<std::shared_ptr<WorkerLink>> open(const TcpAddress& worker);
  ~WorkerLink();
  WorkerLink(const WorkerLink&) = delete;
  WorkerLink& operator=(const WorkerLink&) = delete;

  // For ggml: "127.0.0.1:PORT".
  std::string endpoint() const;

  // Says hello over a connection of its own, and hangs up. Returns the seconds that connecting took. Not while ggml is
  // connected: a worker serves one at a time.
  //   NotFound, Io   errors of tcp_connect      Unavailable   no answer within 5 s, or none of a worker
  //   Unsupported    it speaks another version of the protocol
  Result<double> greet() const;

  // ggml is connected.
  bool in_use() const { return in_use_; }

  // How long an answer may take; a graph that is computed answers when it is done.
  void set_answer_limit(double seconds) { answer_s_ = seconds; }

  // Whether all answers so far came from the worker. Once it says no, it does so for ever.
  //   Unavailable   the worker went away, was silent or talked nonsense
  Result<void> check() const;

  // Whether the worker gave the last buffer that ggml asked for, which knows only that it got none.
  //   Unavailable   it had no memory for it
  Result<void> check_room() const;

  // Something failed that the worker's answers may be to blame for. ggml keeps some of them for as long as it knows
  // the endpoint, so who comes next is given another one.
  void doubt() { doubted_ = true; }
  bool doubted() const { return doubted_; }

  // "HOST:PORT", the worker's own.
  std::string address() const { return worker_.text(); }

 private:
  struct Request;
  explicit WorkerLink(const TcpAddress& worker) : worker_(worker) {}
  void loop();
  void serve(TcpStream client);
  Result<void> relay(TcpStream& client, TcpStream& worker);
  Result<void> pass_on(TcpStream& client, TcpStream& worker, Request& request);
  Result<void> answer(TcpStream& client, TcpStream& worker, const Request& request);
  Result<void> answer_short(TcpStream& client, TcpStream& worker, const Request& request, size_t bytes);
  Result<void> answer_tensor(TcpStream& client, TcpStream& worker, uint64_t bytes);
  Result<void> stand_in(TcpStream& client, const Request& request, uint64_t bytes);
  bool can_be_true(const Request& request, std::span<const std::byte> answer);
  void lose(TcpStream& worker, const std::string& why);

  const TcpAddress worker_;
  StopEvent stop_;
  TcpListener listener_;
  std::atomic<bool> in_use_ = false;
  std::atomic<bool> doubted_ = false;
  std::atomic<double> answer_s_ = 300;
  mutable Mutex mutex_;
  std::optional<Status> lost_ GUARDED_BY(mutex_);
  uint64_t refused_bytes_ GUARDED_BY(mutex_) = 0;
  std::vector<std::byte> piece_;  // the relay's
  WorkerAnswers answers_;         // the relay's
  std::thread thread_;
};

}  // namespace spillway
