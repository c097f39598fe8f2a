// SPDX-License-Identifier: MIT
#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
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

// A machine that lost its power says nothing: it is asked after 10 s of silence, every 5 s, three times.
constexpr int kIdle_s = 10, kAsk_s = 5, kAsks = 3;

void set_option(const Fd& fd, int level, int option, int value) {
  (void)::setsockopt(fd.get(), level, option, &value, sizeof value);  // without it the connection works as well
}

void tune(const Fd& fd) {
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
#if defined(__linux__)
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, kIdle_s);
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, kAsk_s);
  set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, kAsks);
  set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (kIdle_s + kAsk_s * kAsks) * 1000);
#endif
}

// 0 when connected, else errno.
int connect_within(const addrinfo& where, double timeout_s, Fd& fd) {
  fd = Fd(::socket(where.ai_family, where.ai_socktype, where.ai_protocol));
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

Result<Fd> tcp_connect(const TcpAddress& address, double timeout_s) {
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int failed = ::getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &wanted, &found);
  if (failed != 0) return error(Code::kNotFound, fmt::format("{}: {}", address.text(), ::gai_strerror(failed)));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> addresses(found, ::freeaddrinfo);
  const Stopwatch all;
  int number = EHOSTUNREACH;
  for (const addrinfo* where = addresses.get(); where != nullptr; where = where->ai_next) {
    Fd fd;
    number = connect_within(*where, timeout_s - all.elapsed_s(), fd);
    if (number != 0) continue;
    tune(fd);
    return fd;
  }
  return error(Code::kIo, fmt::format("{}: {}", address.text(), std::strerror(number)));
}

Result<double> try_tcp_connect(const TcpAddress& address, double timeout_s) {
  const Stopwatch watch;
  RETURN_IF_ERROR(tcp_connect(address, timeout_s));
  return watch.elapsed_s();
}

std::vector<std::string> own_addresses() {
  std::vector<std::string> addresses;
  ifaddrs* first = nullptr;
  if (::getifaddrs(&first) != 0) return addresses;
  const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> owner(first, ::freeifaddrs);
  for (const ifaddrs* one = first; one != nullptr; one = one->ifa_next) {
    if (one->ifa_addr == nullptr) continue;
    const int family = one->ifa_addr->sa_family;
    char text[INET6_ADDRSTRLEN] = "";
    const void* bytes = nullptr;
    if (family == AF_INET) bytes = &reinterpret_cast<const sockaddr_in*>(one->ifa_addr)->sin_addr;
    if (family == AF_INET6) bytes = &reinterpret_cast<const sockaddr_in6*>(one->ifa_addr)->sin6_addr;
    if (bytes != nullptr && ::inet_ntop(family, bytes, text, sizeof text) != nullptr) addresses.emplace_back(text);
  }
  return addresses;
}

}  // namespace spillway
