// SPDX-License-Identifier: MIT
#include "serve/web_server.h"

#include <gmock/gmock.h>
#include <httplib.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <atomic>
#include <cerrno>
#include <semaphore>
#include <thread>

#include "os/fd.h"

namespace spillway {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

// A connection that nobody reads from.
Fd connect_to(int port) {
  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  return fd;
}

class WebServerTest : public testing::Test {
 protected:
  void start(WebServer::Handler handler) {
    options_.port = 0;
    auto server = WebServer::start(options_, std::move(handler),
                                   [](const std::string&, const std::string& path) { return path == "/pieces"; });
    ASSERT_TRUE(server) << server.error().message();
    server_ = std::move(*server);
    client_ = std::make_unique<httplib::Client>("127.0.0.1", server_->port());
  }

  WebServerOptions options_;
  std::unique_ptr<WebServer> server_;
  std::unique_ptr<httplib::Client> client_;
};

TEST_F(WebServerTest, AStreamIsOneChunkForEachPieceOfIt) {
  start([](const WebRequest&) {
    WebReply reply;
    reply.content_type = "application/x-ndjson";
    reply.stream = [](const WebSink& sink) {
      for (const char* line : {"{\"a\":1}\n", "{\"b\":2}\n"}) sink(line);
    };
    return reply;
  });
  const auto got = client_->Get("/");
  ASSERT_TRUE(got);
  EXPECT_EQ(got->body, "{\"a\":1}\n{\"b\":2}\n");
  EXPECT_EQ(got->get_header_value("Content-Type"), "application/x-ndjson");
  EXPECT_EQ(got->get_header_value("Transfer-Encoding"), "chunked");
}

TEST_F(WebServerTest, ABodyBeyondTheBoundIsRefusedWithOrWithoutALength) {
  options_.body_bytes_max = 1000;
  std::atomic<int> handled = 0;
  start([&](const WebRequest& request) {
    ++handled;
    return WebReply{.body = std::to_string(request.body.size())};
  });
  EXPECT_EQ(client_->Post("/", std::string(1000, 'x'), "application/json")->body, "1000");
  EXPECT_EQ(client_->Post("/", std::string(1001, 'x'), "application/json")->status, 413);
  const std::string large(1001, 'x');
  EXPECT_THAT(client_->Post("/api/chat", large, "text/plain")->body, StartsWith(R"({"error":"the request body is)"));
  EXPECT_THAT(client_->Post("/v1/completions", large, "text/plain")->body, HasSubstr("invalid_request_error"));
  EXPECT_THAT(client_->Post("/v1/messages", large, "text/plain")->body, HasSubstr("request_too_large"));
  int sent = 0;
  const auto chunked = client_->Post(
      "/",
      [&](size_t, httplib::DataSink& sink) {
        sink.write("0123456789", 10);
        if (++sent == 200) sink.done();
        return true;
      },
      "application/json");
  EXPECT_TRUE(!chunked || chunked->status == 413);
  EXPECT_EQ(handled, 1);
  EXPECT_EQ(client_->Delete("/", "{\"name\":1}", "application/json")->body, "10") << "and it lives on";
}

// Requests on one connection, each sent when the reply to the one before is there.
class Connection {
 public:
  explicit Connection(int port) : fd_(connect_to(port)) {
    const timeval patience{.tv_sec = 20, .tv_usec = 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  }
  // The reply: its first line, and its body by Content-Length. Empty when the connection has ended.
  std::string ask(const std::string& request) {
    for (size_t sent = 0; sent < request.size();) {
      const ssize_t n = ::send(fd_.get(), request.data() + sent, request.size() - sent, MSG_NOSIGNAL);
      if (n <= 0) break;
      sent += static_cast<size_t>(n);
    }
    std::string reply;
    size_t end = 0;
    while (end == 0 || reply.size() < end) {
      char piece[4096];
      const ssize_t n = ::recv(fd_.get(), piece, sizeof piece, 0);
      if (n <= 0) return reply;
      reply.append(piece, static_cast<size_t>(n));
      const size_t head = reply.find("\r\n\r\n"), length = reply.find("Content-Length: ");
      if (end == 0 && head != std::string::npos)
        end = head + 4 + (length < head ? std::stoul(reply.substr(length + 16)) : 0);
    }
    return reply;
  }
  // Nothing more is answered, and the server closes.
  bool ended() {
    const std::string next = "GET /api/version HTTP/1.1\r\nHost: localhost\r\n\r\n";
    ::send(fd_.get(), next.data(), next.size(), MSG_NOSIGNAL);
    ::shutdown(fd_.get(), SHUT_WR);
    char byte = 0;
    const ssize_t n = ::recv(fd_.get(), &byte, 1, 0);
    return n == 0 || (n < 0 && errno == ECONNRESET);
  }

 private:
  Fd fd_;
};

// A reply that is given before all of the body was read leaves nothing of it on the connection.
TEST_F(WebServerTest, WhatIsLeftOfABodyIsNotTheNextRequest) {
  options_.guard.loopback = true;
  start([](const WebRequest& request) -> WebReply {
    if (request.query.contains("first") && request.read_body) {
      const bool whole = request.read_body([](std::string_view) { return false; });
      return {.status = 507, .body = whole ? "whole" : "stopped"};
    }
    return {.body = request.method + " " + request.path};
  });
  const std::string bytes = "5\r\nhello\r\n", chunks = "Transfer-Encoding: chunked\r\n\r\n";
  const std::string host = "Host: localhost\r\n", foreign = "Host: evil.example\r\n";
  const std::string length = "Content-Length: 5\r\n\r\nhello";
  const std::string parts = "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nxyz\r\n--B--\r\n";
  const std::string form =
      "Content-Type: multipart/form-data; boundary=B\r\nContent-Length: " + std::to_string(parts.size()) + "\r\n\r\n" +
      parts;
  std::string large;
  for (int i = 0; i < 2000; ++i) large += "400\r\n" + std::string(0x400, 'G') + "\r\n";
  const std::pair<std::string, std::string> cases[] = {
      {"POST /pieces HTTP/1.1\r\n" + host + length, "200"},
      {"POST /pieces HTTP/1.1\r\n" + host + chunks + bytes + "0\r\n\r\n", "200"},
      {"POST /pieces HTTP/1.1\r\n" + host + chunks + large + "0\r\n\r\n", "200"},
      {"POST /pieces?first HTTP/1.1\r\n" + host + chunks + large + "0\r\n\r\n", "507"},
      {"POST /api/chat HTTP/1.1\r\n" + foreign + chunks + large + "0\r\n\r\n", "403"},
      {"POST /api/chat HTTP/1.1\r\n" + host + form, "415"},
      {"POST /api/chat HTTP/1.1\r\n" + foreign + form, "403"},
      {"GET /api/tags HTTP/1.1\r\n" + host + length, "200"},
      {"GET /api/tags HTTP/1.1\r\n" + foreign + length, "403"},
      {"OPTIONS /api/tags HTTP/1.1\r\n" + host + length, "204"},
  };
  Connection connection(server_->port());
  for (const auto& [request, status] : cases) {
    EXPECT_THAT(connection.ask(request), StartsWith("HTTP/1.1 " + status)) << request.substr(0, 100);
    EXPECT_THAT(connection.ask("GET /api/version HTTP/1.1\r\n" + host + "\r\n"), HasSubstr("GET /api/version"))
        << "behind " << request.substr(0, 100);
  }
}

TEST_F(WebServerTest, ABodyThatNobodyWantsAndDoesNotEndEndsTheConnection) {
  options_.body_bytes_max = 1000;
  start([](const WebRequest&) -> WebReply { return {.body = "known"}; });
  const std::string head = " HTTP/1.1\r\nHost: localhost\r\n";
  const std::string large = "800\r\n" + std::string(0x800, 'x') + "\r\n";
  for (const std::string& request :
       {"POST /pieces" + head + "Transfer-Encoding: chunked\r\n\r\n" + large,
        "POST /other" + head + "Transfer-Encoding: chunked\r\n\r\n" + large,
        "POST /other" + head + "Content-Length: 100000\r\n\r\n" + std::string(2000, 'x'),
        "POST /other" + head + "Content-Encoding: foreign\r\nContent-Length: 5\r\n\r\nhello"}) {
    Connection connection(server_->port());
    const std::string reply = connection.ask(request);
    EXPECT_THAT(reply, StartsWith("HTTP/1.1 ")) << request.substr(0, 100);
    EXPECT_THAT(reply, HasSubstr("Connection: close")) << reply;
    EXPECT_TRUE(connection.ended()) << request.substr(0, 100);
  }
}

TEST_F(WebServerTest, ABodyMayComeCompressedAndIsBoundedByWhatItHolds) {
  options_.body_bytes_max = 1000;
  start([](const WebRequest& request) { return WebReply{.body = request.body}; });
  static constexpr unsigned char kZstd[] = {0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x58, 0x81, 0x00, 0x00, 0x7b,
                                            0x22, 0x68, 0x65, 0x6c, 0x6c, 0x6f, 0x22, 0x3a, 0x22, 0x7a,
                                            0x73, 0x74, 0x64, 0x22, 0x7d, 0xc6, 0x45, 0x0e, 0x8e};
  const std::string zstd(reinterpret_cast<const char*>(kZstd), sizeof kZstd);
  EXPECT_EQ(client_->Post("/", {{"Content-Encoding", "zstd"}}, zstd, "application/json")->body, R"({"hello":"zstd"})");
  client_->set_compress(true);
  EXPECT_EQ(client_->Post("/", std::string(1000, 'x'), "application/json")->body, std::string(1000, 'x'));
  EXPECT_EQ(client_->Post("/", std::string(1 << 20, 'x'), "application/json")->status, 413);
}

TEST_F(WebServerTest, ABodyThatCannotBeReadSaysWhy) {
  std::atomic<int> handled = 0;
  start([&](const WebRequest&) {
    ++handled;
    return WebReply{};
  });
  const auto post = [&](const char* encoding) {
    return client_->Post("/api/chat", {{"Content-Encoding", encoding}}, "no such thing", "application/json");
  };
  const auto damaged = post("gzip"), unknown = post("lzma");
  EXPECT_EQ(damaged->status, 400);
  EXPECT_THAT(damaged->body, HasSubstr("did not come whole"));
  EXPECT_EQ(unknown->status, 415);
  EXPECT_THAT(unknown->body, HasSubstr("Content-Encoding"));
  EXPECT_EQ(handled, 0);
}

TEST_F(WebServerTest, AFormIsRefused) {
  options_.guard.api_key = "secret";
  start([](const WebRequest&) { return WebReply{.body = "in"}; });
  const httplib::UploadFormDataItems form = {{"file", "abc", "a.wav", "audio/wav"}};
  EXPECT_EQ(client_->Post("/v1/audio/transcriptions", form)->status, 401);
  const auto refused = client_->Post("/v1/audio/transcriptions", {{"x-api-key", "secret"}}, form);
  EXPECT_EQ(refused->status, 415);
  EXPECT_THAT(refused->body, HasSubstr("forms are not taken"));
}

TEST_F(WebServerTest, AClientOfHttp10GetsAStreamWithoutChunks) {
  start([](const WebRequest&) {
    WebReply reply;
    reply.stream = [](const WebSink& sink) {
      for (const char* line : {"one\n", "two\n"}) sink(line);
    };
    return reply;
  });
  for (const std::string connection : {"", "Connection: Keep-Alive\r\n"}) {
    const auto to_server = connect_to(server_->port());
    const std::string request = "GET / HTTP/1.0\r\n" + connection + "\r\n";
    ASSERT_EQ(::send(to_server.get(), request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
    std::string all;
    char piece[4096];
    for (ssize_t n = 0; (n = ::recv(to_server.get(), piece, sizeof piece, 0)) > 0;)
      all.append(piece, static_cast<size_t>(n));
    EXPECT_THAT(all, testing::EndsWith("\r\n\r\none\ntwo\n"));
    EXPECT_THAT(all, Not(HasSubstr("chunked")));
  }
}

TEST_F(WebServerTest, AStreamIsLoggedWhenItHasEnded) {
  std::atomic<bool> ended = false;
  std::binary_semaphore logged{0};
  options_.log = [&](const WebRequest& request, int status, double) {
    EXPECT_TRUE(ended);
    EXPECT_EQ(request.path, "/s");
    EXPECT_EQ(status, 200);
    logged.release();
  };
  start([&](const WebRequest&) {
    WebReply reply;
    reply.stream = [&](const WebSink& sink) {
      sink("x");
      ended = true;
    };
    return reply;
  });
  EXPECT_EQ(client_->Get("/s")->body, "x");
  logged.acquire();
  server_->stop();  // before what it logs to is gone
}

TEST_F(WebServerTest, ABlobComesInPieces) {
  options_.body_bytes_max = 10;
  start([](const WebRequest& request) {
    size_t bytes = 0;
    const bool whole = request.read_body([&](std::string_view piece) {
      bytes += piece.size();
      return true;
    });
    return WebReply{.body = std::to_string(bytes) + (whole ? " whole" : " cut")};
  });
  EXPECT_EQ(client_->Post("/pieces", std::string(3 << 20, 'x'), "application/octet-stream")->body, "3145728 whole");
}

TEST_F(WebServerTest, AClientThatGoesAwayIsNoticed) {
  std::binary_semaphore ended{0};
  start([&](const WebRequest& request) {
    while (!request.is_gone()) std::this_thread::yield();
    ended.release();
    return WebReply{};
  });
  client_->set_read_timeout(0, 50'000);
  EXPECT_FALSE(client_->Post("/", "{}", "application/json"));
  client_->stop();
  ended.acquire();
}

TEST_F(WebServerTest, AClientThatReadsNothingIsCutOffWhileOthersAreServed) {
  options_.write_timeout_s = 1;
  std::binary_semaphore cut_off{0};
  start([&](const WebRequest& request) {
    if (request.path == "/short") return WebReply{.body = "here"};
    WebReply reply;
    reply.stream = [&](const WebSink& sink) {
      const std::string piece(1 << 16, 'x');
      while (sink(piece)) {
      }
      cut_off.release();
    };
    return reply;
  });
  const auto to_server = connect_to(server_->port());
  const std::string_view request = "GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n";
  ASSERT_EQ(::send(to_server.get(), request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
  EXPECT_EQ(client_->Get("/short")->body, "here");
  cut_off.acquire();
  EXPECT_EQ(client_->Get("/short")->body, "here");
}

TEST_F(WebServerTest, TheGuardIsAskedFirst) {
  options_.guard.api_key = "secret";
  start([](const WebRequest&) { return WebReply{.body = "in"}; });
  EXPECT_EQ(client_->Get("/x")->status, 401);
  EXPECT_EQ(client_->Get("/x", {{"Authorization", "Bearer secret"}})->body, "in");
  EXPECT_EQ(client_->Get("/x", {{"Authorization", "Bearer secret"}, {"Origin", "http://evil.example"}})->status, 403);
  EXPECT_EQ(client_->Post("/x", std::string(100, 'x'), "text/plain")->status, 401);
}

TEST_F(WebServerTest, AHandlerThatThrowsIs500) {
  start([](const WebRequest&) -> WebReply { throw std::runtime_error("oops"); });
  const auto got = client_->Get("/");
  EXPECT_EQ(got->status, 500);
  EXPECT_THAT(got->body, HasSubstr("internal error"));
}

TEST_F(WebServerTest, ATakenPortIsAnErrorThatSaysSo) {
  start([](const WebRequest&) { return WebReply{}; });
  WebServerOptions same = options_;
  same.port = server_->port();
  const auto second = WebServer::start(
      same, [](const WebRequest&) { return WebReply{}; }, [](const std::string&, const std::string&) { return false; });
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error().message(), HasSubstr("--port"));
}

}  // namespace
}  // namespace spillway
