// SPDX-License-Identifier: MIT
// Connections of which no call lasts longer than it is allowed to, and which another thread can wake.
//
// Threads: one uses a stream or a listener; StopEvent::raise() is for any.
#pragma once

#include <algorithm>
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

// How long the other side of a transfer of `bytes` is waited for: `silence_s` until something moves, and in all that
// and what the bytes take at the least rate that is put up with. What else is done between two pieces does not count.
class Patience {
 public:
  static constexpr double kBytesPerSMin = 64 * 1024;
  Patience(double silence_s, uint64_t bytes)
      : silence_s_(silence_s), left_s_(silence_s + static_cast<double>(bytes) / kBytesPerSMin) {}

  // For the next time, at most.
  double wait_s() const { return std::clamp(left_s_, 0.0, silence_s_); }
  void waited(double seconds) { left_s_ -= seconds; }
  // Nothing moved in wait_s().
  Status lost() const;

 private:
  double silence_s_, left_s_;
};

class TcpStream {
 public:
  TcpStream() = default;
  explicit TcpStream(Fd connected) : fd_(std::move(connected)) {}
  //   errors of tcp_connect
  static Result<TcpStream> connect(const TcpAddress& address, double timeout_s);

  bool valid() const { return fd_.valid(); }
  const Fd& fd() const { return fd_; }

  // All of `bytes`, a piece of what `patience` is for.
  //   Unavailable   closed by the other side, which was silent, or slower      Cancelled   `stop` was raised
  Result<void> send(std::span<const std::byte> bytes, Patience& patience, const StopEvent& stop);
  Result<void> receive(std::span<std::byte> bytes, Patience& patience, const StopEvent& stop);
  // The same, with patience for these alone.
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
