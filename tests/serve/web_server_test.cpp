// SPDX-License-Identifier: MIT
#include "serve/web_server.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/resource.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <list>
#include <new>
#include <semaphore>
#include <thread>

#include "base/bytes.h"
#include "base/clock.h"
#include "os/memory.h"
#include "serve/web_client.h"
#include "serve/web_connection.h"

// A sanitizer has operators of its own.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define CONNECTIONS_LACK_MEMORY
namespace {

// Of the next connections that are made, so many get no memory.
std::atomic<int> n_connections_without_memory = 0;

bool is_of_a_connection(size_t bytes) {
  constexpr size_t kCountersBytes = 64;  // of the shared_ptr, about
  return bytes >= sizeof(spillway::WebConnection) && bytes <= sizeof(spillway::WebConnection) + kCountersBytes;
}

}  // namespace

// Of the whole test program. Not inlined: the compiler would see malloc() beside delete.
[[gnu::noinline]] void* operator new(size_t bytes) {
  if (n_connections_without_memory > 0 && is_of_a_connection(bytes)) {
    --n_connections_without_memory;
    throw std::bad_alloc();
  }
  void* const memory = std::malloc(bytes > 0 ? bytes : 1);  // NOLINT(cppcoreguidelines-no-malloc)
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }          // NOLINT
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }  // NOLINT
#endif

namespace spillway {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

// Answers with a function; "/pieces" takes its body in pieces, "/none" is not there.
class FunctionHandler : public WebHandler {
 public:
  BodyPlan plan_body(const WebRequest& head) const override {
    if (head.path == "/none") return {.refusal = WebReply{.status = 404, .body = "nothing"}};
    return {.in_pieces = head.path == "/pieces", .takes_forms = head.path == "/refuses-forms-itself"};
  }
  WebReply handle(const WebRequest& request) override { return function(request); }

  std::function<WebReply(const WebRequest&)> function;
};

class WebServerTest : public testing::Test {
 protected:
  void start(std::function<WebReply(const WebRequest&)> function) {
    options_.port = 0;
    handler_.function = std::move(function);
    auto server = WebServer::start(options_, handler_);
    ASSERT_TRUE(server) << server.error().message();
    server_ = std::move(*server);
    client_ = std::make_unique<WebClient>(server_->port());
  }
  // Echoes what it got, and how much.
  void start_echo() {
    start([this](const WebRequest& request) {
      ++handled_;
      return WebReply{.body = request.method + " " + request.path + " " + request.body};
    });
  }
  std::string say(std::string_view bytes) {
    BareConnection connection(server_->port());
    connection.send(bytes);
    connection.say_no_more();
    return connection.receive_all();
  }

  WebServerOptions options_;
  FunctionHandler handler_;
  std::atomic<int> handled_ = 0;
  std::unique_ptr<WebServer> server_;
  std::unique_ptr<WebClient> client_;
};

// ---- requests and replies

TEST_F(WebServerTest, ARequestIsWhatWasAsked) {
  start([](const WebRequest& request) {
    std::string text = request.method + " " + request.path;
    for (const auto& [name, value] : request.query) text += " " + name + "=" + value;
    return WebReply{.body = text + " " + request.header("x-one") + " " + request.remote + " " + request.body};
  });
  EXPECT_EQ(client_->get("/a%20b%2fc?d=e%26f&g=h+i&j", {"X-One: 1"})->body, "GET /a b/c d=e&f g=h i j= 1 127.0.0.1 ");
  EXPECT_EQ(client_->send("DELETE", "/x", {}, "{}")->body, "DELETE /x  127.0.0.1 {}");
  EXPECT_THAT(say("GET http://localhost/p HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
              EndsWith("GET /p  127.0.0.1 "));
}

TEST_F(WebServerTest, AConnectionServesManyRequests) {
  start_echo();
  for (int i = 0; i < 20; ++i) {
    const auto answer = client_->post("/x", "body " + std::to_string(i));
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->body, "POST /x body " + std::to_string(i));
    EXPECT_EQ(answer->connections, i == 0 ? 1 : 0);
  }
  // Three at once, without waiting.
  EXPECT_THAT(
      say("POST /1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabcGET /2 HTTP/1.1\r\nHost: "
          "localhost\r\n\r\n"
          "POST /3 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1\r\nf\r\n0\r\n\r\n"),
      testing::MatchesRegex("(.|\n)*POST /1 abcHTTP(.|\n)*GET /2 HTTP(.|\n)*POST /3 def"));
}

TEST_F(WebServerTest, AReplyWithoutABodyHasNone) {
  start([](const WebRequest& request) {
    if (request.path == "/204") return WebReply{.status = 204, .content_type = "", .body = ""};
    return WebReply{.body = "12345", .headers = {{"X-Bad", "a\r\nSet-Cookie: b"}, {"X-Good", "c"}}};
  });
  const auto head = client_->send("HEAD", "/", {}, std::nullopt);
  ASSERT_TRUE(head);
  EXPECT_EQ(head->header("content-length"), "5");
  EXPECT_EQ(head->header("x-good"), "c");
  EXPECT_EQ(head->header("set-cookie"), "");
  EXPECT_EQ(client_->get("/204")->status, 204);
  EXPECT_EQ(client_->get("/")->body, "12345");
  EXPECT_EQ(client_->get("/")->connections, 0);
}

TEST_F(WebServerTest, AStreamIsOneChunkForEachPieceOfIt) {
  start([](const WebRequest&) {
    WebReply reply;
    reply.content_type = "application/x-ndjson";
    reply.stream = [](const WebSink& sink) {
      for (const char* line : {"{\"a\":1}\n", "", "{\"b\":2}\n"}) sink(line);
    };
    return reply;
  });
  const auto got = client_->get("/");
  ASSERT_TRUE(got);
  EXPECT_EQ(got->body, "{\"a\":1}\n{\"b\":2}\n");
  EXPECT_EQ(got->header("content-type"), "application/x-ndjson");
  EXPECT_EQ(got->header("transfer-encoding"), "chunked");
  EXPECT_EQ(client_->get("/")->connections, 0);
  EXPECT_THAT(say("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
              EndsWith("8\r\n{\"a\":1}\n\r\n8\r\n{\"b\":2}\n\r\n0\r\n\r\n"));
}

TEST_F(WebServerTest, AClientOfHttp10GetsAStreamWithoutChunks) {
  start([](const WebRequest& request) {
    WebReply reply{.body = "whole"};
    if (request.path == "/stream")
      reply.stream = [](const WebSink& sink) {
        for (const char* line : {"one\n", "two\n"}) sink(line);
      };
    return reply;
  });
  for (const std::string connection : {"", "Connection: Keep-Alive\r\n"}) {
    const std::string all = say("GET /stream HTTP/1.0\r\n" + connection + "\r\n");
    EXPECT_THAT(all, EndsWith("\r\n\r\none\ntwo\n"));
    EXPECT_THAT(all, Not(HasSubstr("chunked")));
  }
  EXPECT_THAT(say("GET /a HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\nGET /b HTTP/1.0\r\n\r\n"),
              testing::MatchesRegex("(.|\n)*keep-alive(.|\n)*whole(.|\n)*close(.|\n)*whole"));
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
  EXPECT_EQ(client_->get("/s")->body, "x");
  logged.acquire();
  server_->stop();  // before what it logs to is gone
}

TEST_F(WebServerTest, AHandlerThatThrowsIs500AndAStreamThatDoesBreaksOff) {
  start([](const WebRequest& request) -> WebReply {
    if (request.path == "/") throw std::runtime_error("oops");
    if (request.path == "/number") throw 5;
    WebReply reply;
    reply.stream = [](const WebSink& sink) {
      sink("begun");
      throw std::bad_alloc();
    };
    return reply;
  });
  for (const char* path : {"/", "/number"}) {
    const auto got = client_->get(path);
    EXPECT_EQ(got->status, 500);
    EXPECT_THAT(got->body, HasSubstr("internal error"));
  }
  EXPECT_FALSE(client_->get("/stream")) << "cut off, not ended";
  EXPECT_EQ(client_->get("/")->status, 500);
}

// The log stands for whatever throws where neither the handler nor the stream is: the process ended.
TEST_F(WebServerTest, WhatIsThrownBehindAReplyEndsItsConnectionAlone) {
  std::atomic<int> n_thrown = 0;
  options_.log = [&](const WebRequest& request, int, double) {
    if (request.path == "/fine") return;
    ++n_thrown;
    if (request.path == "/number") throw 5;
    throw std::bad_alloc();
  };
  start([](const WebRequest& request) {
    if (request.path == "/whole") return WebReply{.body = "x"};
    WebReply reply;
    reply.stream = [](const WebSink& sink) { sink("x"); };
    return reply;
  });
  int n = 0;
  for (const char* path : {"/whole", "/stream", "/number"}) {
    BareConnection connection(server_->port());
    connection.send(fmt::format("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", path));
    EXPECT_TRUE(connection.is_closed()) << path;
    EXPECT_EQ(n_thrown, ++n);
    EXPECT_EQ(client_->get("/fine")->body, "x");
  }
  server_->stop();  // before what it logs to is gone
}

#ifdef CONNECTIONS_LACK_MEMORY
TEST_F(WebServerTest, AConnectionForWhichThereIsNoMemoryKeepsNobodyOut) {
  start_echo();
  n_connections_without_memory = 1;
  EXPECT_TRUE(BareConnection(server_->port()).is_closed());
  EXPECT_EQ(n_connections_without_memory, 0);
  EXPECT_EQ(client_->get("/next")->body, "GET /next ");
}
#endif

TEST_F(WebServerTest, ATakenPortIsAnErrorThatSaysSo) {
  start_echo();
  EXPECT_TRUE(server_->is_loopback());
  WebServerOptions same = options_;
  same.port = server_->port();
  const auto second = WebServer::start(same, handler_);
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error().message(), HasSubstr("--port"));
  for (const char* host : {"no such name.invalid", "203.0.113.7", "::g"}) {
    WebServerOptions elsewhere = options_;
    elsewhere.host = host;
    EXPECT_FALSE(WebServer::start(elsewhere, handler_)) << host;
  }
  WebServerOptions everywhere = options_;
  everywhere.host = "0.0.0.0";
  EXPECT_FALSE((*WebServer::start(everywhere, handler_))->is_loopback());
  WebServerOptions by_name = options_;
  by_name.host = "localhost";
  EXPECT_TRUE((*WebServer::start(by_name, handler_))->is_loopback());
}

TEST_F(WebServerTest, ItsAddressIsAUrlForVersionSixToo) {
  start_echo();
  EXPECT_EQ(server_->url(), "http://127.0.0.1:" + std::to_string(server_->port()));
  for (const char* host : {"::1", "[::1]"}) {
    WebServerOptions six = options_;
    six.host = host;
    const auto server = WebServer::start(six, handler_);
    if (!server) GTEST_SKIP() << "no IPv6 here: " << server.error().message();
    EXPECT_EQ((*server)->url(), "http://[::1]:" + std::to_string((*server)->port()));
    six.port = (*server)->port();
    EXPECT_THAT(WebServer::start(six, handler_).error().message(), StartsWith("[::1]:" + std::to_string(six.port)));
  }
}

// ---- bodies

TEST_F(WebServerTest, ABodyBeyondTheBoundIsRefusedWithOrWithoutALength) {
  options_.body_bytes_max = 1000;
  start([&](const WebRequest& request) {
    ++handled_;
    return WebReply{.body = std::to_string(request.body.size())};
  });
  EXPECT_EQ(client_->post("/", std::string(1000, 'x'))->body, "1000");
  const std::string large(1001, 'x');
  EXPECT_EQ(client_->post("/", large)->status, 413);
  EXPECT_THAT(client_->post("/api/chat", large)->body, StartsWith(R"({"error":"the request body is)"));
  EXPECT_THAT(client_->post("/v1/completions", large)->body, HasSubstr("invalid_request_error"));
  EXPECT_THAT(client_->post("/v1/messages", large)->body, HasSubstr("request_too_large"));
  for (const char* method : {"GET", "DELETE", "PUT", "OPTIONS", "HEAD", "PATCH"}) {
    std::string chunked = std::string(method) + " / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (int i = 0; i < 200; ++i) chunked += "a\r\n0123456789\r\n";
    const std::string answer = say(chunked + "0\r\n\r\n");
    EXPECT_THAT(answer, StartsWith(std::string_view(method) == "OPTIONS" ? "HTTP/1.1 204" : "HTTP/1.1 413")) << method;
  }
  EXPECT_EQ(handled_, 1);
  // A chunk's size decides as a length does, before its bytes come. Zeros before it are HTTP.
  const std::string head = "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
  BareConnection connection(server_->port());
  connection.send(head + "3\r\nabc\r\n3e9\r\n");
  EXPECT_THAT(connection.receive_all(3000), StartsWith("HTTP/1.1 413"));
  EXPECT_THAT(say(head + "000000000000000000000003\r\nabc\r\n0\r\n\r\n"), EndsWith("\r\n\r\n3"));
  EXPECT_EQ(handled_, 2);
  EXPECT_EQ(client_->send("DELETE", "/", {}, "{\"name\":1}")->body, "10") << "and it lives on";
}

TEST_F(WebServerTest, ABodyMayComeCompressedAndIsBoundedByWhatItHolds) {
  options_.body_bytes_max = 1000;
  start([](const WebRequest& request) { return WebReply{.body = request.body}; });
  const auto bytes = [](std::initializer_list<unsigned char> list) { return std::string(list.begin(), list.end()); };
  const std::string zstd =
      bytes({0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x58, 0x81, 0x00, 0x00, 0x7b, 0x22, 0x68, 0x65, 0x6c, 0x6c,
             0x6f, 0x22, 0x3a, 0x22, 0x7a, 0x73, 0x74, 0x64, 0x22, 0x7d, 0xc6, 0x45, 0x0e, 0x8e});
  const std::string gzip = bytes({0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0xcb, 0x48, 0xcd,
                                  0xc9, 0xc9, 0x07, 0x00, 0x86, 0xa6, 0x10, 0x36, 0x05, 0x00, 0x00, 0x00});
  const std::string deflate = bytes({0x78, 0x9c, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x06, 0x2c, 0x02, 0x15});
  const std::string bare = bytes({0xcb, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00});
  const std::string brotli = bytes({0x0b, 0x02, 0x80, 0x68, 0x65, 0x6c, 0x6c, 0x6f, 0x03});
  const auto post = [&](const std::string& encoding, const std::string& body) {
    return client_->post("/", body, {"Content-Encoding: " + encoding});
  };
  EXPECT_EQ(post("zstd", zstd)->body, R"({"hello":"zstd"})");
  EXPECT_EQ(post("gzip", gzip)->body, "hello");
  EXPECT_EQ(post("GZIP", gzip)->body, "hello");
  EXPECT_EQ(post("deflate", deflate)->body, "hello");
  EXPECT_EQ(post("deflate", bare)->body, "hello");
  EXPECT_EQ(post("br", brotli)->body, "hello");
  EXPECT_EQ(post("identity", "hello")->body, "hello");
  for (const auto& [encoding, body] :
       {std::pair<std::string, std::string>{"zstd", zstd}, {"gzip", gzip}, {"deflate", deflate}, {"br", brotli}})
    for (const std::string& wrong : {body.substr(0, body.size() - 1), body + "x", "x" + body, std::string()}) {
      const auto answer = post(encoding, wrong);
      ASSERT_TRUE(answer);
      EXPECT_EQ(answer->status, wrong.empty() ? 200 : 400) << encoding << " of " << wrong.size();
    }
  // A thousand times smaller than what it holds: 1 MiB of zeros.
  std::string bomb = bytes({0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0xff, 0xed, 0xc1, 0x01,
                            0x0d, 0x00, 0x00, 0x00, 0xc2, 0xa0, 0xf7, 0x4f, 0x6d, 0x0e, 0x37, 0xa0});
  bomb += std::string(1 << 10, '\0');
  EXPECT_NE(post("gzip", bomb)->status, 200);
}

TEST_F(WebServerTest, ABodyThatCannotBeReadSaysWhy) {
  start_echo();
  const auto post = [&](const std::string& encoding) {
    return client_->post("/api/chat", "no such thing", {"Content-Encoding: " + encoding});
  };
  const auto damaged = post("gzip"), unknown = post("lzma"), twice = post("gzip, br");
  EXPECT_EQ(damaged->status, 400);
  EXPECT_THAT(damaged->body, HasSubstr("did not come whole"));
  EXPECT_EQ(unknown->status, 415);
  EXPECT_THAT(unknown->body, HasSubstr("Content-Encoding"));
  EXPECT_EQ(twice->status, 415);
  EXPECT_EQ(client_->post("/pieces", "x", {"Content-Encoding: gzip"})->status, 415);
  EXPECT_EQ(handled_, 0);
}

TEST_F(WebServerTest, AFormIsRefused) {
  options_.guard.api_key = "secret";
  start_echo();
  const std::string form = "multipart/form-data; boundary=x";
  EXPECT_EQ(client_->post("/v1/audio/transcriptions", "--x--", {"Content-Type: " + form})->status, 401);
  const auto refused =
      client_->post("/v1/audio/transcriptions", "--x--", {"X-Api-Key: secret", "Content-Type: " + form});
  EXPECT_EQ(refused->status, 415);
  EXPECT_THAT(refused->body, HasSubstr("forms are not taken"));
  EXPECT_EQ(client_->post("/refuses-forms-itself", "--x--", {"X-Api-Key: secret", "Content-Type: " + form})->status,
            200);
}

TEST_F(WebServerTest, ABlobComesInPieces) {
  options_.body_bytes_max = 10;
  start([](const WebRequest& request) {
    size_t bytes = 0;
    const bool whole = request.read_body([&](std::string_view piece) {
      bytes += piece.size();
      return request.header("x-stop").empty();
    });
    return WebReply{.body = std::to_string(bytes) + (whole ? " whole" : " cut")};
  });
  EXPECT_EQ(client_->post("/pieces", std::string(3 << 20, 'x'))->body, "3145728 whole");
  EXPECT_EQ(client_->post("/pieces", std::string(3 << 20, 'x'))->connections, 0);
  EXPECT_THAT(client_->post("/pieces", std::string(3 << 20, 'x'), {"X-Stop: 1"})->body, EndsWith(" cut"));
  EXPECT_THAT(
      say("POST /pieces HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
      EndsWith("3 whole"));
  EXPECT_THAT(say("POST /pieces HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc"), EndsWith(" cut"));
}

TEST_F(WebServerTest, AllBodiesTogetherAreBounded) {
  options_.body_bytes_max = 1 << 20;
  options_.bodies_bytes_max = 1 << 20;
  std::counting_semaphore<4> entered{0}, leave{0};
  start([&](const WebRequest& request) {
    if (request.path == "/hold") {
      entered.release();
      leave.acquire();
    }
    return WebReply{.body = std::to_string(request.body.size())};
  });
  std::thread holds(
      [&] { EXPECT_EQ(WebClient(server_->port()).post("/hold", std::string(900'000, 'x'))->status, 200); });
  entered.acquire();
  EXPECT_EQ(client_->post("/", std::string(900'000, 'x'))->status, 503);
  EXPECT_EQ(client_->post("/", std::string(10'000, 'x'))->status, 200) << "small ones go on";
  leave.release();
  holds.join();
  EXPECT_EQ(client_->post("/", std::string(900'000, 'x'))->status, 200);
}

// Of several answers to a request, one that is refused what it takes may wait while the others go on.
TEST_F(WebServerTest, WhatARequestIsRefusedDoesNotCount) {
  options_.body_bytes_max = options_.bodies_bytes_max = 1 << 20;
  std::counting_semaphore<4> entered{0}, leave{0};
  start([&](const WebRequest& request) {
    if (request.path != "/hold") return WebReply{.body = std::to_string(request.body.size())};
    EXPECT_TRUE(request.may_take(200'000));
    EXPECT_FALSE(request.may_take(10 << 20));
    EXPECT_TRUE(request.may_take(200'000));
    entered.release();
    leave.acquire();
    return WebReply{};
  });
  std::thread holds([&] { EXPECT_EQ(WebClient(server_->port()).post("/hold", "x")->status, 200); });
  entered.acquire();
  EXPECT_EQ(client_->post("/", std::string(500'000, 'x'))->status, 200);
  leave.release();
  holds.join();
}

// ---- what decides before a body is read

TEST_F(WebServerTest, TheHeadDecidesBeforeOneByteOfTheBody) {
  options_.guard.api_key = "secret";
  start_echo();
  for (const std::string method : {"POST", "GET", "DELETE", "PUT"}) {
    BareConnection connection(server_->port());
    connection.send(method + " /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n");
    EXPECT_THAT(connection.receive_until("\r\n\r\n"), StartsWith("HTTP/1.1 401")) << method;
    EXPECT_THAT(connection.receive_until("\r\n\r\n"), HasSubstr("Connection: close"));
  }
  BareConnection nowhere(server_->port());
  nowhere.send("POST /none HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: secret\r\nContent-Length: 1000000000\r\n\r\n");
  EXPECT_THAT(nowhere.receive_until("\r\n\r\n"), StartsWith("HTTP/1.1 404"));
  BareConnection strange(server_->port());
  strange.send(
      "POST /x%0a HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\nTransfer-Encoding: chunked\r\n\r\n");
  EXPECT_THAT(strange.receive_until("\r\n\r\n"), StartsWith("HTTP/1.1 403"));
  BareConnection expecting(server_->port());
  expecting.send("POST /x HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
  EXPECT_THAT(expecting.receive_until("\r\n\r\n"), StartsWith("HTTP/1.1 401")) << "without 100 first";
  EXPECT_EQ(handled_, 0);
}

// A reply that is given before all of the body was read leaves nothing of it on the connection.
TEST_F(WebServerTest, WhatIsLeftOfABodyIsNotTheNextRequest) {
  options_.body_bytes_max = 1 << 20;
  start([](const WebRequest& request) -> WebReply {
    if (request.query.contains("first") && request.read_body) {
      const bool whole = request.read_body([](std::string_view) { return false; });
      return {.status = 507, .body = whole ? "whole" : "stopped"};
    }
    return {.body = request.method + " " + request.path};
  });
  const std::string host = "Host: localhost\r\n", foreign = "Host: evil.example\r\n";
  const std::string hidden = "GET /hidden HTTP/1.1\r\n" + host + "\r\n";
  const std::string length = "Content-Length: " + std::to_string(hidden.size()) + "\r\n\r\n" + hidden;
  const std::string chunks =
      "Transfer-Encoding: chunked\r\n\r\n" + fmt::format("{:x}\r\n{}\r\n0\r\n\r\n", hidden.size(), hidden);
  std::string large = "Transfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 2000; ++i) large += fmt::format("{:x}\r\n{}\r\n", hidden.size(), hidden);
  large += "0\r\n\r\n";
  const std::string form = "Content-Type: multipart/form-data; boundary=B\r\n" + length;
  const std::pair<std::string, std::string> cases[] = {
      {"POST /pieces HTTP/1.1\r\n" + host + length, "200"},
      {"POST /pieces HTTP/1.1\r\n" + host + chunks, "200"},
      {"POST /pieces?first HTTP/1.1\r\n" + host + large, "507"},
      {"POST /none HTTP/1.1\r\n" + host + length, "404"},
      {"POST /api/chat HTTP/1.1\r\n" + foreign + large, "403"},
      {"POST /api/chat HTTP/1.1\r\n" + host + form, "415"},
      {"POST /api/chat HTTP/1.1\r\n" + host + "Content-Encoding: foreign\r\n" + length, "415"},
      {"GET /api/tags HTTP/1.1\r\n" + host + length, "200"},
      {"GET /api/tags HTTP/1.1\r\n" + foreign + length, "403"},
      {"GET http://localhost/api/tags HTTP/1.1\r\n" + foreign + length, "200"},  // the target's host counts
      {"GET http://evil.example/api/tags HTTP/1.1\r\n" + host + length, "403"},
      {"GET http://evil.example HTTP/1.1\r\n" + host + length, "403"},
      {"GET http://localhost@evil.example/api/tags HTTP/1.1\r\n" + host + length, "400"},
      {"GET http:///api/tags HTTP/1.1\r\n" + host + length, "400"},
      {"OPTIONS /api/tags HTTP/1.1\r\n" + host + length, "204"},
      {"HEAD /api/tags HTTP/1.1\r\n" + host + chunks, "200"},
  };
  for (const auto& [request, status] : cases) {
    SCOPED_TRACE(request.substr(0, 100));
    const std::string answers = say(request + "GET /next HTTP/1.1\r\n" + host + "\r\n");
    EXPECT_THAT(answers, StartsWith("HTTP/1.1 " + status));
    EXPECT_THAT(answers, Not(HasSubstr("/hidden")));
    EXPECT_THAT(answers, testing::AnyOf(HasSubstr("GET /next"), HasSubstr("Connection: close")));
  }
}

TEST_F(WebServerTest, EachReplyNamesItsRequest) {
  start_echo();
  const auto one = client_->get("/"), two = client_->get("/"), none = client_->get("/none");
  for (const auto& answer : {one, two, none}) {
    EXPECT_THAT(answer->header("request-id"), StartsWith("req_"));
    EXPECT_EQ(answer->header("request-id"), answer->header("x-request-id"));
  }
  EXPECT_NE(one->header("request-id"), two->header("request-id"));
}

TEST_F(WebServerTest, AnEarlyReplyReachesAClientThatIsStillSending) {
  options_.body_bytes_max = 1 << 20;
  start_echo();
  BareConnection connection(server_->port());
  connection.send("POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8000000\r\n\r\n");
  for (int i = 0; i < 8; ++i) connection.send(std::string(1'000'000, 'x'));
  EXPECT_THAT(connection.receive_all(), StartsWith("HTTP/1.1 413"));
}

TEST_F(WebServerTest, AClientThatWaitsToBeAskedForItsBodyIs) {
  start_echo();
  BareConnection connection(server_->port());
  connection.send(
      "POST /x HTTP/1.1\r\nHost: localhost\r\nExpect: 100-Continue\r\nContent-Length: 5\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(connection.receive_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  connection.send("hello");
  EXPECT_THAT(connection.receive_all(), EndsWith("POST /x hello"));
  EXPECT_THAT(say("GET / HTTP/1.1\r\nHost: localhost\r\nExpect: the worst\r\n\r\n"), StartsWith("HTTP/1.1 417"));
}

// ---- what is not HTTP as it should be

TEST_F(WebServerTest, WhateverIsNotFramedAsItShouldBeEndsTheConnection) {
  start_echo();
  std::string many_headers = "POST /a HTTP/1.1\r\nHost: localhost\r\n";
  for (int i = 0; i < 20'000; ++i) many_headers += "X-" + std::to_string(i) + ": y\r\n";
  // Behind each of these stands a second request, which must not be answered.
  const std::string head = "POST /a HTTP/1.1\r\nHost: localhost\r\n";
  const struct {
    std::string bytes;
    int status;
  } cases[] = {
      {many_headers + "Content-Length: 0\r\n\r\n", 431},
      {"GET /" + std::string(100'000, 'a') + " HTTP/1.1\r\nHost: localhost\r\n\r\n", 431},
      {head + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {head + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400},
      {head + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400},
      {head + "Content-Length: -1\r\n\r\n", 400},
      {head + "Content-Length: 3x\r\n\r\nabc", 400},
      {head + "Content-Length: 99999999999999999999\r\n\r\n", 400},
      {head + "Transfer-Encoding: gzip\r\n\r\n", 501},
      {head + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
      {head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 400},
      {head + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400},
      {head + "Transfer-Encoding: chunked\r\n\r\n-1\r\n", 400},
      {head + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", 400},
      {head + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc", 400},
      {head + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n8000000000000000;x=y\r\nabc", 400},
      {head + "Transfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\nabc", 413},
      {head + "Transfer-Encoding: chunked\r\n\r\n" + std::string(200'000, '0') + "3\r\nabc\r\n0\r\n\r\n", 400},
      {head + "Content-Length: 18446744073709551615\r\n\r\nabc", 413},
      {head + "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", 400},
      {"POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {head + "Host: other\r\n\r\n", 400},
      {"GET /a HTTP/1.1\r\n\r\n", 400},
      {"GET /a HTTP/2.0\r\nHost: localhost\r\n\r\n", 400},
      {"GET /a HTTP/1.1 x\r\nHost: localhost\r\n\r\n", 400},
      {"GET a HTTP/1.1\r\nHost: localhost\r\n\r\n", 400},
      {"GET /%zz HTTP/1.1\r\nHost: localhost\r\n\r\n", 400},
      {"GET /a HTTP/1.1\nHost: localhost\n\n", 400},
      {head + "X : y\r\n\r\n", 400},
      {head + "X\r\n\r\n", 400},
      {head + std::string("X: a\0b\r\n\r\n", 11), 400},
      {"\x16\x03\x01\x02\x00\x01\x00\x01", 400},
      {"{\"json\": true}", 400},
  };
  const std::string smuggled = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
  for (const auto& c : cases) {
    SCOPED_TRACE(c.bytes.substr(0, 120));
    BareConnection connection(server_->port());
    connection.send(c.bytes + smuggled);
    const std::string answer = connection.receive_all(3000);
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 " + std::to_string(c.status)));
    EXPECT_THAT(answer, HasSubstr("Connection: close"));
    EXPECT_THAT(answer, Not(HasSubstr("smuggled")));
  }
  EXPECT_EQ(client_->get("/alive")->body, "GET /alive ");
}

// ---- clients that are slow, gone or many

TEST_F(WebServerTest, AClientThatGoesAwayIsNoticed) {
  std::binary_semaphore ended{0};
  start([&](const WebRequest& request) {
    while (!request.is_gone()) std::this_thread::yield();
    ended.release();
    return WebReply{};
  });
  client_->timeout_ms = 50;
  EXPECT_FALSE(client_->post("/", "{}"));
  ended.acquire();
  // Also behind bytes that nobody has read: the begin of another request.
  std::optional<BareConnection> hasty(std::in_place, server_->port());
  hasty->send("GET /first HTTP/1.1\r\nHost: localhost\r\n\r\nGET /sec");
  hasty.reset();
  ended.acquire();
}

TEST_F(WebServerTest, AClientThatReadsNothingIsCutOffWhileOthersAreServed) {
  options_.write_timeout_s = 1;
  std::binary_semaphore cut_off{0};
  start([&](const WebRequest& request) {
    if (request.path == "/short") return WebReply{.body = "here"};
    if (request.path == "/large") return WebReply{.body = std::string(50 << 20, 'x')};
    WebReply reply;
    reply.stream = [&](const WebSink& sink) {
      const std::string piece(1 << 16, 'x');
      while (sink(piece)) {
      }
      cut_off.release();
    };
    return reply;
  });
  BareConnection endless(server_->port()), large(server_->port());
  endless.send("GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n");
  large.send("GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(client_->get("/short")->body, "here");
  cut_off.acquire();
  EXPECT_EQ(client_->get("/short")->body, "here");
}

TEST_F(WebServerTest, HundredsOfConnectionsThatDoNothingHarmNobody) {
  start_echo();
  std::list<BareConnection> idle;
  const std::string_view kinds[] = {"", "GET / HTTP/1.1\r\n",
                                    "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nab",
                                    "GET /idle HTTP/1.1\r\nHost: localhost\r\n\r\n"};
  for (int i = 0; i < 400; ++i) {
    idle.emplace_back(server_->port());
    idle.back().send(kinds[i % 4]);
  }
  for (int i = 0; i < 20; ++i) {
    const Stopwatch watch;
    EXPECT_EQ(WebClient(server_->port()).post("/new", "x")->body, "POST /new x");
    EXPECT_LT(watch.elapsed_s(), 5) << "not behind their timeouts";
  }
}

TEST_F(WebServerTest, WhoIsIdleTheLongestMakesRoom) {
  options_.connections_max = 20;
  options_.read_timeout_s = 600;
  start_echo();
  BareConnection first(server_->port());
  first.send("GET /first HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_THAT(first.receive_until("GET /first"), EndsWith("GET /first "));
  std::list<BareConnection> idle;
  for (int i = 0; i < 40; ++i) {
    idle.emplace_back(server_->port());
    idle.back().send("GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n");
    EXPECT_THAT(idle.back().receive_until("GET /x"), EndsWith("GET /x "));
  }
  EXPECT_TRUE(first.is_closed());
  EXPECT_EQ(client_->get("/new")->body, "GET /new ");
}

// With one byte now and then each of them would be waited for, again and again.
TEST_F(WebServerTest, WhoSendsSlowlyMakesRoom) {
  options_.connections_max = 20;
  options_.read_timeout_s = 600;
  start([](const WebRequest& request) {
    size_t bytes = 0;
    if (request.read_body) request.read_body([&](std::string_view piece) { return (bytes += piece.size()) > 0; });
    return WebReply{.body = request.path};
  });
  std::list<BareConnection> slow;
  for (int i = 0; i < 20; ++i) {
    slow.emplace_back(server_->port());
    slow.back().send(i % 3 == 0   ? "GET / HTTP/1.1\r\nHost: loc"
                     : i % 3 == 1 ? "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nab"
                                  : "POST /pieces HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90000\r\n\r\nab");
  }
  for (int i = 0; i < 3; ++i) {
    BareConnection late(server_->port());
    late.send("GET /late HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    EXPECT_THAT(late.receive_until("/late"), EndsWith("/late")) << i;
  }
}

TEST_F(WebServerTest, ABlobThatTricklesIsGivenUp) {
  options_.read_timeout_s = 1;
  std::binary_semaphore ended{0};
  start([&](const WebRequest& request) {
    EXPECT_FALSE(request.read_body([](std::string_view) { return true; }));
    ended.release();
    return WebReply{};
  });
  BareConnection trickling(server_->port());
  trickling.send("POST /pieces HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n");
  std::atomic<bool> over = false;
  std::thread drop([&] {
    while (!over && trickling.send("x")) ::poll(nullptr, 0, 20);
  });
  ended.acquire();
  over = true;
  drop.join();
}

TEST_F(WebServerTest, AllLargeRepliesTogetherAreBounded) {
  options_.bodies_bytes_max = 60 << 20;
  start([](const WebRequest& request) {
    return WebReply{.body = std::string(request.path == "/large" ? 40 << 20 : 10, 'x')};
  });
  // More than the system keeps of what a client does not read.
  std::optional<BareConnection> unread(std::in_place, server_->port());
  unread->send("GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_THAT(unread->receive_until("HTTP/1.1"), StartsWith("HTTP/1.1 200"));
  EXPECT_EQ(client_->get("/large")->status, 503);
  EXPECT_EQ(client_->get("/small")->status, 200);
  unread.reset();
  int status = 503;
  for (int i = 0; i < 1000 && status == 503; ++i) status = client_->get("/large")->status;
  EXPECT_EQ(status, 200) << "there is room again";
}

TEST_F(WebServerTest, ALargePieceOfAStreamCountsUntilItIsSent) {
  options_.bodies_bytes_max = 60 << 20;
  start([](const WebRequest& request) {
    WebReply reply;
    reply.stream = [is_large = request.path == "/large"](const WebSink& sink) {
      sink(std::string(is_large ? 40 << 20 : 10, 'x'));
    };
    return reply;
  });
  std::optional<BareConnection> unread(std::in_place, server_->port());
  unread->send("GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n");
  unread->receive_until("xxx");
  EXPECT_THAT(say("GET /large HTTP/1.0\r\n\r\n"), EndsWith("\r\n\r\n")) << "it breaks off behind its head";
  EXPECT_EQ(client_->get("/small")->body, "xxxxxxxxxx");
  unread.reset();
  std::string heard;
  for (int i = 0; i < 1000 && !heard.ends_with('x'); ++i) heard = client_->get("/large") ? "x" : "";
  EXPECT_THAT(heard, EndsWith("x")) << "there is room again";
}

TEST_F(WebServerTest, WhatARequestSaysThatItTakesCountsAmongTheBodies) {
  options_.body_bytes_max = options_.bodies_bytes_max = 1 << 20;
  start([](const WebRequest& request) {
    const bool first = request.takes(600 << 10), second = request.path == "/twice" && request.takes(600 << 10);
    EXPECT_TRUE(request.takes(0)) << "nothing is never too much";
    return WebReply{.body = std::string(first ? "one" : "none") + (second ? " two" : "")};
  });
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(client_->get("/once")->body, "one") << "that of the request before is given back";
    EXPECT_EQ(client_->get("/twice")->body, "one");
  }
}

TEST_F(WebServerTest, WhoComesWhenAllAreInUseWaitsUntilOneIsNot) {
  options_.connections_max = 2;
  std::counting_semaphore<4> entered{0}, leave{0};
  start([&](const WebRequest& request) {
    if (request.path == "/hold") {
      entered.release();
      leave.acquire();
    }
    return WebReply{.body = request.path};
  });
  BareConnection one(server_->port());
  one.send("GET /hold HTTP/1.1\r\nHost: localhost\r\n\r\n");
  entered.acquire();
  BareConnection two(server_->port());
  two.send("GET /hold HTTP/1.1\r\nHost: localhost\r\n\r\n");
  entered.acquire();
  BareConnection three(server_->port());
  three.send("GET /three HTTP/1.1\r\nHost: localhost\r\n\r\n");
  leave.release();
  EXPECT_THAT(three.receive_until("/three"), EndsWith("/three"));
  leave.release();
}

TEST_F(WebServerTest, ASlowHeadOrBodyIsGivenUp) {
  options_.read_timeout_s = 1;
  start_echo();
  for (const std::string part :
       {"GET / HTTP/1.1\r\nHost: loc", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nab"}) {
    BareConnection connection(server_->port());
    connection.send(part);
    EXPECT_TRUE(connection.is_closed());
  }
  options_.read_timeout_s = 30;
  options_.keep_alive_s = 1;
  server_.reset();
  start_echo();
  BareConnection idle(server_->port());
  idle.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_TRUE(idle.is_closed());
}

TEST_F(WebServerTest, TooManyRequestsAtOnceAreToldToTryAgain) {
  options_.requests_max = 2;
  std::counting_semaphore<4> entered{0}, leave{0};
  start([&](const WebRequest&) {
    entered.release();
    leave.acquire();
    return WebReply{.body = "done"};
  });
  std::vector<std::thread> busy;
  for (int i = 0; i < 2; ++i) busy.emplace_back([&] { EXPECT_EQ(WebClient(server_->port()).get("/")->body, "done"); });
  entered.acquire();
  entered.acquire();
  const auto refused = client_->get("/");
  EXPECT_EQ(refused->status, 503);
  EXPECT_EQ(refused->header("retry-after"), "1");
  leave.release(2);
  for (std::thread& one : busy) one.join();
  leave.release();
  EXPECT_EQ(client_->get("/")->body, "done");
}

TEST_F(WebServerTest, OneAddressLeavesAnEighthOfTheRequestsToOthers) {
  options_.requests_max = 8;
  std::counting_semaphore<16> entered{0}, leave{0};
  start([&](const WebRequest& request) {
    entered.release();
    leave.acquire();
    return WebReply{.body = "done for " + request.remote};
  });
  constexpr std::string_view kGet = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
  std::list<BareConnection> busy;
  for (int i = 0; i < 7; ++i) {
    EXPECT_TRUE(busy.emplace_back(server_->port()).send(kGet));
    entered.acquire();
  }
  BareConnection refused(server_->port()), other(server_->port(), 2);
  EXPECT_TRUE(refused.send(kGet));
  EXPECT_THAT(refused.receive_until("Retry-After"), HasSubstr("503"));
  EXPECT_TRUE(other.send(kGet));
  entered.acquire();
  leave.release(8);
  EXPECT_THAT(other.receive_until("done"), HasSubstr("200"));
  for (BareConnection& one : busy) EXPECT_THAT(one.receive_until("done"), HasSubstr("200"));
  // What was answered is no longer counted.
  leave.release();
  EXPECT_TRUE(busy.front().send(kGet));
  EXPECT_THAT(busy.front().receive_until("done for 127.0.0.1HTTP"), HasSubstr("127.0.0.1HTTP"));
}

TEST_F(WebServerTest, ConnectionsBeyondTheSystemsDescriptorsWait) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  start_echo();
  EXPECT_EQ(client_->get("/first")->body, "GET /first ");
  std::list<BareConnection> idle;
  for (int i = 0; i < 50; ++i) idle.emplace_back(server_->port());
  BareConnection late(server_->port());
  const rlimit none{20, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  late.send("GET /late HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_THAT(late.receive_until("/late"), EndsWith("GET /late "));
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(WebClient(server_->port()).get("/after")->body, "GET /after ");
}

// ---- the end

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
uint64_t resident_bytes() {
  uint64_t all = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> all >> resident;
  return resident * system_page_bytes();
}

// What is read of a large request are small pieces. One of them that is kept holds up all that lay before it.
TEST_F(WebServerTest, WhatALargeRequestTookGoesBackToTheSystem) {
  std::vector<std::string> kept;
  start([&kept](const WebRequest&) {
    std::vector<std::string> pieces;
    for (size_t i = 0; i < 1'000'000; ++i) pieces.emplace_back(200, 'x');
    kept.emplace_back(200, 'x');
    return WebReply{.body = "done"};
  });
  const std::string body(2 * MiB, 'x');
  const uint64_t before = resident_bytes();
  for (int i = 0; i < 3; ++i) ASSERT_EQ(client_->post("/x", body)->body, "done");
  server_.reset();  // what it still does comes to its end
  EXPECT_LT(resident_bytes(), before + 100 * MiB);
}
#endif

TEST_F(WebServerTest, StoppingEndsWhatWaitsAndLetsWhatRunsFinish) {
  std::binary_semaphore entered{0};
  start([&](const WebRequest& request) {
    if (request.path == "/runs") {
      entered.release();
      while (!request.is_gone()) std::this_thread::yield();
    }
    return WebReply{.body = "finished"};
  });
  BareConnection idle(server_->port()), begun(server_->port()), sending(server_->port()), runs(server_->port());
  begun.send("GET / HT");
  sending.send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nab");
  runs.send("GET /runs HTTP/1.1\r\nHost: localhost\r\n\r\n");
  entered.acquire();
  server_->stop();
  EXPECT_THAT(runs.receive_all(), EndsWith("finished"));
  EXPECT_TRUE(idle.is_closed());
  EXPECT_TRUE(begun.is_closed());
  EXPECT_TRUE(sending.is_closed());
}

}  // namespace
}  // namespace spillway
