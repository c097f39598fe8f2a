// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>

#include "base/clock.h"
#include "os/fd.h"
#include "os/tcp.h"

namespace spillway {
namespace {

// 0 when connected, else errno.
int connect_within(const addrinfo& where, double timeout_s) {
  Fd fd(::socket(where.ai_family, where.ai_socktype, where.ai_protocol));
  if (!fd.valid()) return errno;
  ::fcntl(fd.get(), F_SETFD, FD_CLOEXEC);
  ::fcntl(fd.get(), F_SETFL, O_NONBLOCK);
  if (::connect(fd.get(), where.ai_addr, where.ai_addrlen) == 0) return 0;
  if (errno != EINPROGRESS) return errno;
  const Stopwatch watch;
  while (true) {
    pollfd ready{fd.get(), POLLOUT, 0};
    const double left_s = timeout_s - watch.elapsed_s();
    const int n = left_s > 0 ? ::poll(&ready, 1, static_cast<int>(left_s * 1000) + 1) : 0;
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    if (n == 0) return ETIMEDOUT;
    int number = 0;
    socklen_t length = sizeof number;
    return ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &number, &length) == 0 ? number : errno;
  }
}

}  // namespace

std::string TcpAddress::text() const {
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port) : fmt::format("[{}]:{}", host, port);
}

Result<TcpAddress> parse_tcp_address(const std::string& text) {
  const size_t colon = text.rfind(':');
  TcpAddress address;
  if (colon != std::string::npos) {
    address.host = text.substr(0, colon);
    const char* end = text.data() + text.size();
    const auto [stop, code] = std::from_chars(text.data() + colon + 1, end, address.port);
    if (code != std::errc() || stop != end) address.port = 0;
  }
  const bool bracketed = address.host.starts_with('[') && address.host.ends_with(']') && address.host.size() > 2;
  if (bracketed) address.host = address.host.substr(1, address.host.size() - 2);
  const bool unclear = !bracketed && address.host.find_first_of(":[]/ ") != std::string::npos;
  if (address.host.empty() || address.port == 0 || unclear)
    return error(Code::kInvalidArgument, fmt::format("'{}' is no address; write for example 192.168.0.7:50052", text));
  return address;
}

Result<double> try_tcp_connect(const TcpAddress& address, double timeout_s) {
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int failed = ::getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &wanted, &found);
  if (failed != 0) return error(Code::kNotFound, fmt::format("{}: {}", address.text(), ::gai_strerror(failed)));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> addresses(found, ::freeaddrinfo);
  const Stopwatch all;
  int number = EHOSTUNREACH;
  for (const addrinfo* where = addresses.get(); where != nullptr; where = where->ai_next) {
    const Stopwatch watch;
    number = connect_within(*where, timeout_s - all.elapsed_s());
    if (number == 0) return watch.elapsed_s();
  }
  return error(Code::kIo, fmt::format("{}: {}", address.text(), std::strerror(number)));
}

}  // namespace spillway
