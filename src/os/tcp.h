// SPDX-License-Identifier: MIT
// Whether somebody answers at a TCP address: asked before a library is let loose on it that waits for ever, or ends the
// process, when nobody does.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "os/fd.h"

namespace spillway {

// "host:port", "1.2.3.4:50052", "[::1]:50052".
struct TcpAddress {
  std::string host;
  uint16_t port = 0;

  std::string text() const;
};

//   InvalidArgument   anything else; the message shows what is expected
Result<TcpAddress> parse_tcp_address(const std::string& text);

// A connection, non-blocking. When the other machine vanishes without a word the system gives it up after half a
// minute.
//   NotFound   the host has no address        Io   refused, unreachable or silent for `timeout_s`
Result<Fd> tcp_connect(const TcpAddress& address, double timeout_s);

// Connects and hangs up again. Returns the seconds that took, about one round trip. The name is looked up without a
// limit other than the system's own.
//   NotFound   the host has no address        Io   refused, unreachable or silent for `timeout_s`
Result<double> try_tcp_connect(const TcpAddress& address, double timeout_s);

// The addresses that this machine's interfaces have now, as text; none where the system does not say.
std::vector<std::string> own_addresses();

}  // namespace spillway
