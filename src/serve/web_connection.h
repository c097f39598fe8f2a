// SPDX-License-Identifier: MIT
// One connection: a request after the other, from its first byte to the last of the reply.
//
//   idle -> head -> (body) -> answering -> (writing) -> idle, or lingering -> closed
//
// The thread of the io_context owns it, but while it is answering: then the worker does, which alone touches the
// socket. Kept alive by whatever it waits for (shared_ptr); when it waits for nothing any more it closes.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "serve/web_server.h"
#include "serve/worker_threads.h"

namespace spillway {

class WebConnection;

// What the connections of a server have in common.
struct WebShared {
  WebShared(WebServerOptions o, WebHandler& h)
      : options(std::move(o)), handler(h), guard(options.guard), workers(options.requests_max) {}

  const WebServerOptions options;
  WebHandler& handler;
  const WebGuard guard;
  std::atomic<bool> stopping = false;
  std::atomic<uint64_t> held_bytes = 0;    // of bodies
  std::set<WebConnection*> connections{};  // the io thread's, as what follows
  bool is_full = false;                    // others wait for a connection to end
  std::function<void()> on_connection_closed{};
  boost::asio::io_context io{1};  // holds connections, and goes before what they use
  WorkerThreads workers;
};

class WebConnection : public std::enable_shared_from_this<WebConnection> {
 public:
  WebConnection(boost::asio::ip::tcp::socket socket, WebShared& shared);
  ~WebConnection();
  WebConnection(const WebConnection&) = delete;
  WebConnection& operator=(const WebConnection&) = delete;

  void start() { wait_for_request(); }

  // How little is lost with it, where there are too many: first who asks for nothing, the longest; then whose head does
  // not end, the longest; then whose body comes the slowest. nullopt: it is being answered,
  // or has only begun.
  struct Claim {
    int kind = 0;         // the lower goes first
    double weakness = 0;  // of its kind the highest goes first
  };
  std::optional<Claim> claim() const;
  // Ends it, which has a claim.
  void make_room();

  // Ends it unless a request is being answered, which ends by itself.
  void stop();

 private:
  using Parser = boost::beast::http::request_parser<boost::beast::http::buffer_body>;
  using Error = boost::system::error_code;
  enum class Phase { kIdle, kHead, kBody, kAnswering, kWriting, kLingering, kClosed };

  void wait_for_request();
  void read_head();
  void on_head(Error problem);
  std::optional<WebReply> take_head();
  std::optional<WebReply> plan_body();
  void continue_with_body();
  void read_body();
  void check_chunk(uint64_t bytes, Error& problem) const;
  void on_body(Error problem, size_t asked);
  bool hold(uint64_t bytes);
  void release(uint64_t bytes);
  void answer();
  bool leaves_room() const;
  void reply(WebReply reply);
  void refuse(WebReply reply);
  void write_rest();
  void next_or_close();
  void linger();
  void discard();
  void close();
  WebReply failure(int status, const std::string& why) const;

  // On a worker. What keeps the connection alive is shared with the function that is posted when it has answered, which
  // alone takes it.
  using Kept = std::shared_ptr<std::shared_ptr<WebConnection>>;
  static void work(const Kept& kept);
  static void hand_back(const Kept& kept);
  bool answer_here();
  void on_answered();
  WebReply make_reply();
  void send_stream(const WebReply& reply);
  void add_headers(WebReply& reply) const;
  bool send_all(std::string_view bytes);
  bool send_piece(std::string_view bytes);
  bool read_in_pieces(const std::function<bool(std::string_view)>& sink);
  bool is_gone() const;

  WebShared& shared_;
  boost::beast::tcp_stream stream_;
  boost::beast::flat_buffer buffer_;
  Phase phase_ = Phase::kIdle;
  Stopwatch since_idle_, since_head_;

  // Of the request.
  std::optional<Parser> parser_;
  std::function<void(uint64_t, boost::beast::string_view, Error&)> on_chunk_;  // the parser refers to it
  WebRequest request_;
  bool is_http_1_0_ = false, keeps_ = false, in_pieces_ = false, expects_continue_ = false;
  std::string encoding_;
  std::vector<char> piece_;
  uint64_t held_bytes_ = 0;
  std::atomic<bool> is_receiving_ = false;  // a worker reads the body
  std::atomic<uint64_t> body_bytes_ = 0;    // that have come

  // Of the reply.
  std::optional<WebReply> made_;  // by a worker; none: it was sent already
  bool broke_off_ = false;        // something was thrown behind what was sent: there is nothing more to say
  bool closes_ = false;
  int status_ = 0;
  std::string out_;
  size_t out_done_ = 0;
};

}  // namespace spillway
