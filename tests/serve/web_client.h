// SPDX-License-Identifier: MIT
// A client for tests: libcurl, and a bare socket for what no client would send.
#pragma once

#include <arpa/inet.h>
#include <curl/curl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "os/fd.h"

namespace spillway {

struct WebAnswer {
  int status = 0;
  std::string body;
  std::map<std::string, std::string> headers;  // names in lower case
  long connections = 0;                        // that had to be made for it

  std::string header(const std::string& name) const { return headers.count(name) > 0 ? headers.at(name) : ""; }
};

// Keeps its connection from one request to the next.
class WebClient {
 public:
  using Headers = std::vector<std::string>;  // "Name: value"
  using OnPiece = std::function<void(std::string_view)>;

  explicit WebClient(int port) : port_(port), curl_(curl_easy_init(), curl_easy_cleanup) {}

  std::optional<WebAnswer> get(const std::string& path, const Headers& headers = {}) {
    return send("GET", path, headers, std::nullopt);
  }
  std::optional<WebAnswer> post(const std::string& path, const std::string& body, const Headers& headers = {},
                                const OnPiece& on_piece = {}) {
    return send("POST", path, headers, body, on_piece);
  }
  // nullopt: no answer came, or not in time.
  std::optional<WebAnswer> send(const std::string& method, const std::string& path, const Headers& headers,
                                const std::optional<std::string>& body, const OnPiece& on_piece = {}) {
    CURL* const c = curl_.get();
    curl_easy_reset(c);
    WebAnswer answer;
    Receiver receiver{answer, on_piece};
    std::unique_ptr<curl_slist, void (*)(curl_slist*)> list(nullptr, curl_slist_free_all);
    for (const std::string& header : headers) list.reset(curl_slist_append(list.release(), header.c_str()));
    if (body) list.reset(curl_slist_append(list.release(), "Expect:"));
    curl_easy_setopt(c, CURLOPT_URL, ("http://127.0.0.1:" + std::to_string(port_) + path).c_str());
    curl_easy_setopt(c, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, method.c_str());
    if (method == "HEAD") curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, list.get());
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, timeout_ms);
    if (body) {
      curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body->size()));
      curl_easy_setopt(c, CURLOPT_POSTFIELDS, body->data());
    }
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, &receiver);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, &answer);
    const CURLcode outcome = curl_easy_perform(c);
    long status = 0;
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(c, CURLINFO_NUM_CONNECTS, &answer.connections);
    answer.status = static_cast<int>(status);
    if (outcome != CURLE_OK) return std::nullopt;
    return answer;
  }

  long timeout_ms = 120'000;

 private:
  struct Receiver {
    WebAnswer& answer;
    const OnPiece& on_piece;
  };
  static size_t on_body(char* data, size_t one, size_t n, void* to) {
    const auto* receiver = static_cast<Receiver*>(to);
    receiver->answer.body.append(data, one * n);
    if (receiver->on_piece) receiver->on_piece({data, one * n});
    return one * n;
  }
  static size_t on_header(char* data, size_t one, size_t n, void* to) {
    std::string_view line(data, one * n);
    while (line.ends_with('\n') || line.ends_with('\r')) line.remove_suffix(1);
    if (const size_t colon = line.find(": "); colon != std::string_view::npos) {
      std::string name(line.substr(0, colon));
      for (char& c : name) c = static_cast<char>(tolower(c));
      static_cast<WebAnswer*>(to)->headers[name] = line.substr(colon + 2);
    }
    return one * n;
  }

  const int port_;
  const std::unique_ptr<CURL, void (*)(CURL*)> curl_;
};

// A connection on which one says what one likes.
class BareConnection {
 public:
  // `from`: the last number of this end's address, 127.0.0.N.
  explicit BareConnection(int port, uint8_t from = 1) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl((INADDR_LOOPBACK & ~0xffu) | from);
    EXPECT_EQ(::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }

  // false: the other end takes no more.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }
  void say_no_more() { ::shutdown(fd_.get(), SHUT_WR); }

  // Until the other end closes; what has come when that takes too long.
  std::string receive_all(int timeout_ms = 20'000) {
    while (receive_some(timeout_ms)) {
    }
    return received_;
  }
  // Until `mark` has come.
  std::string receive_until(std::string_view mark, int timeout_ms = 20'000) {
    while (received_.find(mark) == std::string::npos && receive_some(timeout_ms)) {
    }
    return received_;
  }
  bool is_closed(int timeout_ms = 20'000) {
    receive_all(timeout_ms);
    return closed_;
  }

 private:
  bool receive_some(int timeout_ms) {
    pollfd one{fd_.get(), POLLIN, 0};
    if (::poll(&one, 1, timeout_ms) <= 0) return false;
    char piece[4096];
    const ssize_t n = ::recv(fd_.get(), piece, sizeof piece, 0);
    if (n <= 0) return closed_ = true, false;
    received_.append(piece, static_cast<size_t>(n));
    return true;
  }

  const Fd fd_;
  std::string received_;
  bool closed_ = false;
};

}  // namespace spillway
