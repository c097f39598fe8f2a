// SPDX-License-Identifier: MIT
// HTTP/1.1 on a port: reads requests within bounds, asks the guard, lets the routes answer.
//
// Threads: one accepts, each connection has one of its own, up to a bound; more wait, and beyond that are closed.
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
  size_t connections_max = 1024;
  int read_timeout_s = 30;                                                 // between two pieces of a request
  int write_timeout_s = 30;                                                // for a client that reads nothing
  int keep_alive_s = 60;                                                   // between two requests of a connection
  std::function<void(const WebRequest&, int status, double seconds)> log;  // after each reply has ended; may be null
};

class WebServer {
 public:
  using Handler = std::function<WebReply(const WebRequest&)>;
  // Whether a body is to be handed over in pieces.
  using InPieces = bool (*)(const std::string& method, const std::string& path);

  // Binds and begins to answer.
  //   Unavailable   the address cannot be used: taken, or not ours
  static Result<std::unique_ptr<WebServer>> start(WebServerOptions options, Handler handler, InPieces in_pieces);
  virtual ~WebServer() = default;  // as stop()

  virtual int port() const = 0;

  // No new connections; returns when the requests that run are answered.
  virtual void stop() = 0;
};

}  // namespace spillway
