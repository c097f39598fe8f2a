// SPDX-License-Identifier: MIT
// HTTP/1.1 on a port: reads requests within bounds, asks the guard, lets the handler answer.
//
// What a client is believed, and when:
// - The head decides, guard and handler, before one byte of a body is read. A reply that comes before the body did ends
//   the connection; so does whatever is not as HTTP frames it.
// - A body that is held in memory is bounded, after decompression, and so are all of them and large replies together.
//   It has to come at a few KB per second, in pieces as well.
// - Connections that wait, send or receive slowly cost no thread, only those do whose request is being answered. When
//   there are too many, the one that was idle the longest makes room, then the one that sends the slowest.
//
// Threads: one for all that waits, one for each request while it is answered.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/status.h"
#include "serve/web.h"
#include "serve/web_guard.h"

namespace spillway {

struct WebServerOptions {
  std::string host = "127.0.0.1";
  int port = 11434;  // 0: any that is free
  GuardOptions guard;
  uint64_t body_bytes_max = 64ull << 20;  // of a body that is held in memory
  uint64_t bodies_bytes_max = 0;          // of all of them; 0: four times as much
  size_t connections_max = 1024;
  // That are answered at once, and seven eighths of them for one address; more are told to try again.
  size_t requests_max = 1024;
  int read_timeout_s = 30;   // for the head of a request, and for each 64 KiB of its body
  int write_timeout_s = 30;  // for a client that reads nothing
  int keep_alive_s = 60;     // between two requests of a connection
  std::function<void(const WebRequest&, int status, double seconds)> log;  // after each reply has ended; may be null
};

class WebServer {
 public:
  // Binds and begins to answer. `handler` must outlive the server.
  //   Unavailable   the address cannot be used: taken, or not ours
  static Result<std::unique_ptr<WebServer>> start(WebServerOptions options, WebHandler& handler);
  virtual ~WebServer() = default;  // as stop()

  virtual int port() const = 0;
  virtual std::string url() const = 0;   // as a client is given it: "http://[::1]:11434"
  virtual bool is_loopback() const = 0;  // nobody but this machine reaches it

  // No new connections; requests that run find their client gone. Returns when they have ended.
  virtual void stop() = 0;
};

}  // namespace spillway
