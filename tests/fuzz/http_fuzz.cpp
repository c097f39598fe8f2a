// SPDX-License-Identifier: MIT
// Any bytes on a connection: each thing that looks like a request is answered by a reply that HTTP knows or ends the
// connection, and nothing of a body is taken for a request.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "os/fd.h"
#include "serve/web_server.h"

namespace spillway {
namespace {

constexpr size_t kBodyBytesMax = 1 << 16;

class Handler : public WebHandler {
 public:
  BodyPlan plan_body(const WebRequest& head) const override {
    CHECK(!head.method.empty() && !head.path.empty());
    if (head.path == "/none") return {.refusal = WebReply{.status = 404, .body = "none"}};
    return {.in_pieces = head.path == "/pieces"};
  }
  WebReply handle(const WebRequest& request) override {
    CHECK(request.body.size() <= kBodyBytesMax);
    if (request.path == "/stream") {
      WebReply reply;
      reply.stream = [](const WebSink& sink) { sink("one") && sink("two"); };
      return reply;
    }
    size_t bytes = 0;
    if (request.read_body)
      request.read_body([&](std::string_view piece) { return (bytes += piece.size()) < kBodyBytesMax; });
    return {.body = std::to_string(request.body.size() + bytes)};
  }
};

int port_of_server() {
  static Handler handler;
  static const std::unique_ptr<WebServer> server = [] {
    WebServerOptions options;
    options.port = 0;
    options.body_bytes_max = kBodyBytesMax;
    options.read_timeout_s = options.write_timeout_s = options.keep_alive_s = 2;
    auto started = WebServer::start(options, handler);
    CHECK(started);
    return std::move(*started);
  }();
  return server->port();
}

// false: nothing for 30 s.
bool wait_for(int fd, short what) {
  pollfd one{fd, what, 0};
  int n_ready = 0;
  do n_ready = ::poll(&one, 1, 30'000);
  while (n_ready < 0 && errno == EINTR);  // libFuzzer's alarm
  return n_ready == 1;
}

std::string exchange(std::string_view bytes) {
  const Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port_of_server()));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int refused = ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  CHECK(refused == 0 || (errno == EINTR && wait_for(fd.get(), POLLOUT)));  // goes on behind the alarm
  const linger at_once{1, 0};  // thousands of connections a second would use up the ports
  ::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) break;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  ::shutdown(fd.get(), SHUT_WR);
  std::string reply;
  char piece[4096];
  for (;;) {
    CHECK(wait_for(fd.get(), POLLIN));  // it ends by itself
    const ssize_t n = ::recv(fd.get(), piece, sizeof piece, 0);
    if (n <= 0) return reply;
    reply.append(piece, static_cast<size_t>(n));
  }
}

// Replies one after the other, and whole unless the connection was cut.
void check(std::string_view reply) {
  while (!reply.empty()) {
    if (reply.starts_with("HTTP/1.1 100 Continue\r\n\r\n")) {
      reply.remove_prefix(25);
      continue;
    }
    CHECK(reply.starts_with("HTTP/1.1 "));
    const size_t end = reply.find("\r\n\r\n");
    if (end == std::string_view::npos) return;
    const std::string_view head = reply.substr(0, end);
    const int status = std::atoi(std::string(head.substr(9, 3)).c_str());
    CHECK(status >= 200 && status < 600 && status != 500);
    reply.remove_prefix(end + 4);
    const size_t length = head.find("Content-Length: ");
    if (length == std::string_view::npos) return;  // a stream, or none
    const size_t bytes = std::stoul(std::string(head.substr(length + 16, 10)));
    if (reply.starts_with("HTTP/1.1 ")) continue;  // to HEAD
    reply.remove_prefix(std::min(bytes, reply.size()));
    // Nothing is answered behind what was no request.
    if (head.find("Connection: close") != std::string_view::npos) CHECK(reply.empty());
  }
}

}  // namespace
}  // namespace spillway

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  using namespace spillway;
  check(exchange({reinterpret_cast<const char*>(data), bytes}));
  return 0;
}
