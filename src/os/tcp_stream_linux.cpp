// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "base/bytes.h"
#include "base/clock.h"
#include "os/tcp_stream.h"

namespace spillway {
namespace {

Failure stopped() { return error(Code::kCancelled, "stopped"); }
Failure closed() { return error(Code::kUnavailable, "closed the connection"); }
Failure broken(int number) {
  if (number == EPIPE || number == ECONNRESET) return closed();
  return error(Code::kUnavailable, fmt::format("is out of reach ({})", std::strerror(number)));
}

// Until `fd` is ready for `events` or broken.
Result<void> wait_for(const Fd& fd, short events, Patience& patience, const StopEvent& stop) {
  const double timeout_s = patience.wait_s();
  const Stopwatch watch;
  std::array<pollfd, 2> fds{{{fd.get(), events, 0}, {stop.fd().get(), POLLIN, 0}}};
  const int timeout_ms = std::isinf(timeout_s) ? -1 : static_cast<int>(std::ceil(timeout_s * 1000));
  int n = 0;
  while ((n = ::poll(fds.data(), fds.size(), timeout_ms)) < 0 && errno == EINTR) {
  }
  if (n < 0) return error(Code::kIo, fmt::format("poll: {}", std::strerror(errno)));
  if (fds[1].revents != 0) return stopped();
  if (n == 0) return Failure(patience.lost());
  patience.waited(watch.elapsed_s());
  return {};
}

bool is_try_again(int number) { return number == EAGAIN || number == EWOULDBLOCK || number == EINTR; }

Status last_error(const char* call) { return {Code::kIo, fmt::format("{}: {}", call, std::strerror(errno))}; }

}  // namespace

Result<StopEvent> StopEvent::open() {
  StopEvent event;
  event.fd_ = Fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!event.fd_.valid()) return Failure(last_error("eventfd"));
  return event;
}

void StopEvent::raise() const {
  const uint64_t one = 1;
  (void)!::write(fd_.get(), &one, sizeof one);
}

bool StopEvent::raised_within(double seconds) const {
  pollfd ready{fd_.get(), POLLIN, 0};
  return ::poll(&ready, 1, static_cast<int>(seconds * 1000)) > 0;
}

Result<TcpStream> TcpStream::connect(const TcpAddress& address, double timeout_s) {
  ASSIGN_OR_RETURN(Fd fd, tcp_connect(address, timeout_s));
  return TcpStream(std::move(fd));
}

Status Patience::lost() const {
  if (left_s_ >= silence_s_) return {Code::kUnavailable, fmt::format("was silent for {:g} s", silence_s_)};
  return {Code::kUnavailable, fmt::format("was slower than {}/s", format_bytes(static_cast<uint64_t>(kBytesPerSMin)))};
}

Result<void> TcpStream::send(std::span<const std::byte> bytes, double silence_s, const StopEvent& stop) {
  Patience patience(silence_s, bytes.size());
  return send(bytes, patience, stop);
}

Result<void> TcpStream::receive(std::span<std::byte> bytes, double silence_s, const StopEvent& stop) {
  Patience patience(silence_s, bytes.size());
  return receive(bytes, patience, stop);
}

Result<void> TcpStream::send(std::span<const std::byte> bytes, Patience& patience, const StopEvent& stop) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n > 0) {
      bytes = bytes.subspan(static_cast<size_t>(n));
    } else if (n < 0 && !is_try_again(errno)) {
      return broken(errno);
    } else {
      RETURN_IF_ERROR(wait_for(fd_, POLLOUT, patience, stop));
    }
  }
  return {};
}

Result<void> TcpStream::receive(std::span<std::byte> bytes, Patience& patience, const StopEvent& stop) {
  while (!bytes.empty()) {
    const ssize_t n = ::recv(fd_.get(), bytes.data(), bytes.size(), 0);
    if (n > 0) {
      bytes = bytes.subspan(static_cast<size_t>(n));
    } else if (n == 0) {
      return closed();
    } else if (!is_try_again(errno)) {
      return broken(errno);
    } else {
      RETURN_IF_ERROR(wait_for(fd_, POLLIN, patience, stop));
    }
  }
  return {};
}

Result<bool> first_is_readable(const TcpStream& first, const TcpStream& second, const StopEvent& stop) {
  std::array<pollfd, 3> fds{
      {{first.fd().get(), POLLIN, 0}, {second.fd().get(), POLLIN, 0}, {stop.fd().get(), POLLIN, 0}}};
  while (::poll(fds.data(), fds.size(), -1) < 0)
    if (errno != EINTR) return Failure(last_error("poll"));
  if (fds[2].revents != 0) return stopped();
  return fds[0].revents != 0;
}

Result<TcpListener> TcpListener::open() {
  TcpListener listener;
  listener.fd_ = Fd(::socket(AF_INET, SOCK_STREAM, 0));
  if (!listener.fd_.valid()) return Failure(last_error("socket"));
  ::fcntl(listener.fd_.get(), F_SETFD, FD_CLOEXEC);
  ::fcntl(listener.fd_.get(), F_SETFL, O_NONBLOCK);
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof name;
  auto* generic = reinterpret_cast<sockaddr*>(&name);
  if (::bind(listener.fd_.get(), generic, length) != 0) return Failure(last_error("bind"));
  if (::listen(listener.fd_.get(), 4) != 0) return Failure(last_error("listen"));
  if (::getsockname(listener.fd_.get(), generic, &length) != 0) return Failure(last_error("getsockname"));
  listener.port_ = ntohs(name.sin_port);
  return listener;
}

Result<TcpStream> TcpListener::accept(const StopEvent& stop) {
  Patience for_ever(kForEver_s, 0);
  while (true) {
    Fd fd(::accept(fd_.get(), nullptr, nullptr));
    if (fd.valid()) {
      ::fcntl(fd.get(), F_SETFD, FD_CLOEXEC);
      ::fcntl(fd.get(), F_SETFL, O_NONBLOCK);
      const int one = 1;
      (void)::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
      return TcpStream(std::move(fd));
    }
    if (!is_try_again(errno) && errno != ECONNABORTED) return Failure(last_error("accept"));
    RETURN_IF_ERROR(wait_for(fd_, POLLIN, for_ever, stop));
  }
}

}  // namespace spillway
