// SPDX-License-Identifier: MIT
#include "serve/web_server.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <future>
#include <list>
#include <thread>

#include "base/clock.h"
#include "serve/last_words.h"
#include "serve/web_connection.h"

namespace spillway {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using Error = boost::system::error_code;

// How long replies that are being written may take when the server stops.
constexpr std::chrono::seconds kLastWrites{2};
// While there are too many connections, and each is being answered or has only begun.
constexpr std::chrono::milliseconds kRoomPause{200};
// Before the next connection is accepted, where there was no descriptor or no memory for one.
constexpr std::chrono::milliseconds kAcceptPause{50};

class AsioServer : public WebServer {
 public:
  AsioServer(WebServerOptions options, WebHandler& handler)
      : shared_(std::move(options), handler), pause_(shared_.io), room_pause_(shared_.io), last_writes_(shared_.io) {
    shared_.on_connection_closed = [this] { accept_again(); };
  }
  // Where there is no memory left to post that it stops, the process ends.
  ~AsioServer() override { stop(); }  // NOLINT(bugprone-exception-escape)

  // Every address that the name stands for; all of one port.
  Result<void> listen() {
    const WebServerOptions& o = shared_.options;
    Error problem;
    tcp::resolver resolver(shared_.io);
    const auto found = resolver.resolve(without_brackets(o.host), std::to_string(o.port),
                                        tcp::resolver::passive | tcp::resolver::address_configured, problem);
    auto all = problem
                   ? resolver.resolve(without_brackets(o.host), std::to_string(o.port), tcp::resolver::passive, problem)
                   : found;
    for (const auto& one : all) {
      tcp::endpoint endpoint = one.endpoint();
      if (port_ > 0) endpoint.port(static_cast<uint16_t>(port_));
      const bool known = std::any_of(listeners_.begin(), listeners_.end(), [&](const Listener& other) {
        return other.acceptor.local_endpoint() == endpoint;
      });
      if (!known) problem = listen_at(endpoint);
    }
    if (listeners_.empty())
      return error(
          Code::kUnavailable,
          fmt::format("{} cannot be listened on ({}); choose another with --host and --port", host_and_port(o.port),
                      problem == asio::error::address_in_use ? "taken by another server"
                      : problem                              ? problem.message()
                                                             : "not an address of this machine"));
    for (Listener& listener : listeners_) accept(listener);
    thread_ = std::thread([this] { run(); });
    return {};
  }

  int port() const override { return port_; }
  std::string url() const override { return "http://" + host_and_port(port_); }
  bool is_loopback() const override {
    return std::all_of(listeners_.begin(), listeners_.end(), [](const Listener& listener) {
      return is_loopback_address(listener.acceptor.local_endpoint().address().to_string());
    });
  }

  // 1. Nobody new, and who waits goes. 2. Requests that run find their client gone. 3. What they answered is written.
  void stop() override {
    if (!thread_.joinable()) return;
    shared_.stopping = true;
    asio::post(shared_.io, [this] {
      Error ignored;
      for (Listener& listener : listeners_) listener.acceptor.close(ignored);
      pause_.cancel();
      room_pause_.cancel();
      for_each_connection([](WebConnection& connection) { connection.stop(); });
    });
    shared_.workers.stop();
    asio::post(shared_.io, [this] {
      draining_ = true;
      last_writes_.expires_after(kLastWrites);
      last_writes_.async_wait([this](Error) { shared_.io.stop(); });
      end_when_empty();
    });
    thread_.join();
    shared_.on_connection_closed = nullptr;
  }

 private:
  struct Listener {
    tcp::acceptor acceptor;
    bool accepts = false;  // else it waits for room
  };

  static std::string without_brackets(const std::string& host) {
    return host.starts_with('[') && host.ends_with(']') ? host.substr(1, host.size() - 2) : host;
  }
  std::string host_and_port(int port) const {
    const std::string host = without_brackets(shared_.options.host);
    return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port) : fmt::format("[{}]:{}", host, port);
  }

  Error listen_at(const tcp::endpoint& endpoint) {
    Error problem;
    tcp::acceptor acceptor(shared_.io);
    acceptor.open(endpoint.protocol(), problem);
    // Not SO_REUSEPORT: a port that another server has would be shared, and each would get some of the requests.
    if (!problem) acceptor.set_option(asio::socket_base::reuse_address(true), problem);
    if (!problem) acceptor.bind(endpoint, problem);
    if (!problem) acceptor.listen(asio::socket_base::max_listen_connections, problem);
    if (problem) return problem;
    port_ = acceptor.local_endpoint().port();
    listeners_.push_back({.acceptor = std::move(acceptor)});
    return {};
  }

  void run() {
    for (;;) {
      try {
        shared_.io.run();
        return;
      } catch (const std::exception& e) {
        // What it was doing is gone, and its connection with it.
        tell(e.what());
      } catch (...) {
        tell("what is no exception was thrown");
      }
      // Others are accepted, whatever was thrown where.
      accept_again_soon();
    }
  }

  static void tell(const char* what) { notice_if_possible("the web server", what); }

  template <typename Function>
  void for_each_connection(const Function& function) {
    // A copy: they leave while this goes on.
    std::vector<std::shared_ptr<WebConnection>> all;
    for (WebConnection* connection : shared_.connections)
      if (auto alive = connection->weak_from_this().lock()) all.push_back(std::move(alive));
    for (const auto& connection : all) function(*connection);
  }

  // Called when a connection ends, too, so it throws nothing.
  void accept(Listener& listener) {
    try {
      listener.acceptor.async_accept([this, &listener](Error problem, tcp::socket socket) {
        listener.accepts = false;
        on_accepted(listener, problem, std::move(socket));
      });
      listener.accepts = true;
    } catch (const std::exception& e) {
      tell(e.what());
      accept_again_soon();
    }
  }

  void on_accepted(Listener& listener, Error problem, tcp::socket socket) {
    if (problem == asio::error::operation_aborted || shared_.stopping) return;
    if (problem) {
      // No descriptor to give it, mostly. Others close.
      make_room(nullptr);
      shared_.is_full = true;
      accept_again_soon();
      return;
    }
    socket.set_option(tcp::no_delay(true), problem);
    const auto connection = std::make_shared<WebConnection>(std::move(socket), shared_);
    connection->start();
    if (shared_.connections.size() >= shared_.options.connections_max && !make_room(connection.get())) {
      shared_.is_full = true;  // who comes waits in the system's queue
      look_for_room_again();
      return;
    }
    accept(listener);
  }

  // Where there is no memory for that either, the next connection that ends does it.
  void accept_again_soon() {
    if (pauses_) return;
    try {
      pause_.expires_after(kAcceptPause);
      pause_.async_wait([this](Error) {
        pauses_ = false;
        accept_again();
      });
      pauses_ = true;
    } catch (const std::exception& e) {
      tell(e.what());
    }
  }

  // Who has only begun may turn out to be slow.
  void look_for_room_again() {
    room_pause_.expires_after(kRoomPause);
    room_pause_.async_wait([this](Error problem) {
      if (problem || shared_.stopping || all_accept()) return;
      if (!make_room(nullptr)) return look_for_room_again();
      accept_again();
    });
  }

  void accept_again() {
    if (shared_.stopping) return end_when_empty();
    shared_.is_full = false;
    for (Listener& listener : listeners_)
      if (!listener.accepts) accept(listener);
  }

  bool all_accept() const {
    return std::all_of(listeners_.begin(), listeners_.end(), [](const Listener& listener) { return listener.accepts; });
  }

  // The connection with the weakest claim goes, but for the one that has just come. false: all are being answered.
  bool make_room(const WebConnection* newest) {
    WebConnection* weakest = nullptr;
    WebConnection::Claim claim;
    for (WebConnection* connection : shared_.connections) {
      const auto other = connection->claim();
      if (connection == newest || !other) continue;
      const bool is_weaker = other->kind != claim.kind ? other->kind < claim.kind : other->weakness > claim.weakness;
      if (weakest != nullptr && !is_weaker) continue;
      weakest = connection;
      claim = *other;
    }
    if (weakest == nullptr) return false;
    weakest->make_room();
    return true;
  }

  void end_when_empty() {
    if (draining_ && shared_.connections.empty()) shared_.io.stop();
  }

  WebShared shared_;
  // When all connections are answered by workers and nobody may come, nothing waits for now: run() would return.
  const asio::executor_work_guard<asio::io_context::executor_type> goes_on_{shared_.io.get_executor()};
  std::list<Listener> listeners_;
  asio::steady_timer pause_, room_pause_, last_writes_;
  bool pauses_ = false;    // pause_ is waited for
  bool draining_ = false;  // only replies that are being written are waited for
  int port_ = 0;
  std::thread thread_;
};

}  // namespace

Result<std::unique_ptr<WebServer>> WebServer::start(WebServerOptions options, WebHandler& handler) {
  auto server = std::make_unique<AsioServer>(std::move(options), handler);
  RETURN_IF_ERROR(server->listen());
  return server;
}

}  // namespace spillway
