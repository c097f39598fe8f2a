// SPDX-License-Identifier: MIT
// An HTTP server on the loopback that answers as it is told, also wrongly: with a body that is cut off, a length that
// is not true, or silence in the middle. One answer per connection.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace spillway {

struct TestRequest {
  std::string method, target;                  // "GET", "/v2/...?x=y"
  std::map<std::string, std::string> headers;  // names in lower case

  std::string header(const std::string& name) const {
    const auto found = headers.find(name);
    return found == headers.end() ? "" : found->second;
  }
};

struct TestAnswer {
  int status = 200;
  std::string body = {};
  std::vector<std::string> headers = {};      // whole lines
  std::optional<size_t> content_length = {};  // when it is not the body's
  std::optional<size_t> cut_after = {};       // bytes of the body, then the connection ends
  std::optional<size_t> silent_after = {};    // bytes of the body, then nothing until the client leaves
  bool without_length = false;                // the body ends with the connection
};

class TestServer {
 public:
  using Handler = std::function<TestAnswer(const TestRequest&)>;

  explicit TestServer(Handler handler);  // called on threads of the server
  ~TestServer();
  TestServer(const TestServer&) = delete;
  TestServer& operator=(const TestServer&) = delete;

  int port() const { return port_; }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  std::vector<TestRequest> requests() const;
  size_t count(const std::string& part) const;  // of requests with this in their target

 private:
  void accept_all();
  void serve(int fd);

  const Handler handler_;
  int listen_fd_ = -1, port_ = 0;
  mutable std::mutex mutex_;
  std::vector<TestRequest> requests_;
  std::vector<int> open_fds_;
  std::vector<std::thread> connections_;
  bool stopping_ = false;
  std::thread acceptor_;
};

// `content` as a server that knows ranges gives it.
TestAnswer answer_range(const TestRequest& request, const std::string& content, const std::string& etag = "\"v1\"");

}  // namespace spillway
