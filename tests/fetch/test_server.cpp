// SPDX-License-Identifier: MIT
#include "test_server.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <sstream>

namespace spillway {
namespace {

void send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
}

bool receive_some(int fd, std::string& text) {
  char buffer[4096];
  const ssize_t n = ::recv(fd, buffer, sizeof buffer, 0);
  if (n > 0) text.append(buffer, static_cast<size_t>(n));
  return n > 0;
}

TestRequest parse(const std::string& text) {
  TestRequest request;
  std::istringstream stream(text);
  std::string line;
  std::getline(stream, line);
  std::istringstream(line) >> request.method >> request.target;
  while (std::getline(stream, line) && line != "\r") {
    const size_t colon = line.find(": ");
    if (colon == std::string::npos) continue;
    std::string name = line.substr(0, colon);
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
    request.headers[name] = line.substr(colon + 2, line.size() - colon - 3);
  }
  return request;
}

}  // namespace

TestServer::TestServer(Handler handler) : handler_(std::move(handler)) {
  listen_fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t bytes = sizeof address;
  if (::bind(listen_fd_, reinterpret_cast<sockaddr*>(&address), bytes) != 0 || ::listen(listen_fd_, 64) != 0 ||
      ::getsockname(listen_fd_, reinterpret_cast<sockaddr*>(&address), &bytes) != 0)
    ADD_FAILURE() << "the test server could not be started";
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { accept_all(); });
}

TestServer::~TestServer() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    for (const int fd : open_fds_) ::shutdown(fd, SHUT_RDWR);
  }
  ::shutdown(listen_fd_, SHUT_RDWR);
  acceptor_.join();
  for (std::thread& one : connections_) one.join();
  ::close(listen_fd_);
}

void TestServer::accept_all() {
  for (;;) {
    const int fd = ::accept4(listen_fd_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return;
    const std::lock_guard lock(mutex_);
    if (stopping_) {
      ::close(fd);
      return;
    }
    open_fds_.push_back(fd);
    connections_.emplace_back([this, fd] { serve(fd); });
  }
}

void TestServer::serve(int fd) {
  std::string text;
  while (text.find("\r\n\r\n") == std::string::npos && receive_some(fd, text)) {
  }
  if (text.find("\r\n\r\n") != std::string::npos) {
    const TestRequest request = parse(text);
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(request);
    }
    const TestAnswer answer = handler_(request);
    std::string head = "HTTP/1.1 " + std::to_string(answer.status) + " Status\r\nConnection: close\r\n";
    for (const std::string& line : answer.headers) head += line + "\r\n";
    if (!answer.without_length)
      head += "Content-Length: " + std::to_string(answer.content_length.value_or(answer.body.size())) + "\r\n";
    head += "\r\n";
    send_all(fd, head);
    const size_t bytes =
        std::min(answer.cut_after.value_or(answer.body.size()), answer.silent_after.value_or(answer.body.size()));
    send_all(fd, std::string_view(answer.body).substr(0, bytes));
    while (answer.silent_after && receive_some(fd, text)) {
    }
  }
  const std::lock_guard lock(mutex_);
  open_fds_.erase(std::find(open_fds_.begin(), open_fds_.end(), fd));
  ::close(fd);
}

std::vector<TestRequest> TestServer::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

size_t TestServer::count(const std::string& part) const {
  const auto all = requests();
  return static_cast<size_t>(std::count_if(
      all.begin(), all.end(), [&](const TestRequest& one) { return one.target.find(part) != std::string::npos; }));
}

TestAnswer answer_range(const TestRequest& request, const std::string& content, const std::string& etag) {
  const std::string range = request.header("range"), condition = request.header("if-range");
  std::vector<std::string> headers{"ETag: " + etag, "Accept-Ranges: bytes"};
  if (range.empty() || (!condition.empty() && condition != etag)) return {.body = content, .headers = headers};
  char* dash = nullptr;
  const size_t from = std::strtoull(range.c_str() + std::string("bytes=").size(), &dash, 10);
  if (from >= content.size()) return {.status = 416, .headers = headers};
  const size_t last =
      dash[1] == '\0' ? content.size() - 1 : std::min<size_t>(content.size() - 1, std::strtoull(dash + 1, nullptr, 10));
  headers.push_back("Content-Range: bytes " + std::to_string(from) + "-" + std::to_string(last) + "/" +
                    std::to_string(content.size()));
  return {.status = 206, .body = content.substr(from, last + 1 - from), .headers = headers};
}

}  // namespace spillway
