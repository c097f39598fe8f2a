// SPDX-License-Identifier: MIT
// Connections of which no call lasts longer than it is allowed to, and which another thread can wake.
//
// Threads: one uses a stream or a listener; StopEvent::raise() is for any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include "base/status.h"
#include "os/fd.h"
#include "os/tcp.h"

namespace spillway {

// Raised once, for good: every waiting call returns with Cancelled.
class StopEvent {
 public:
  static Result<StopEvent> open();
  void raise() const;
  bool raised_within(double seconds) const;
  const Fd& fd() const { return fd_; }

 private:
  Fd fd_;
};

inline constexpr double kForEver_s = std::numeric_limits<double>::infinity();

class TcpStream {
 public:
  TcpStream() = default;
  explicit TcpStream(Fd connected) : fd_(std::move(connected)) {}
  //   errors of tcp_connect
  static Result<TcpStream> connect(const TcpAddress& address, double timeout_s);

  bool valid() const { return fd_.valid(); }
  const Fd& fd() const { return fd_; }

  // All of `bytes`, though each part may take `silence_s` until something moves.
  //   Unavailable   closed by the other side, or nothing moved for `silence_s`      Cancelled   `stop` was raised
  Result<void> send(std::span<const std::byte> bytes, double silence_s, const StopEvent& stop);
  Result<void> receive(std::span<std::byte> bytes, double silence_s, const StopEvent& stop);

 private:
  Fd fd_;
};

// Waits until one of them has something to read, or was closed; true: the first has.
//   Cancelled   `stop` was raised
Result<bool> first_is_readable(const TcpStream& first, const TcpStream& second, const StopEvent& stop);

// Takes connections from this machine alone, on a port that was free.
class TcpListener {
 public:
  //   Io   the system refused
  static Result<TcpListener> open();
  uint16_t port() const { return port_; }
  //   Cancelled   `stop` was raised      Io
  Result<TcpStream> accept(const StopEvent& stop);

 private:
  Fd fd_;
  uint16_t port_ = 0;
};

}  // namespace spillway
