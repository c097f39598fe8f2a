// SPDX-License-Identifier: MIT
// The one file that knows cpp-httplib.
#include "serve/web_server.h"

#include <fmt/format.h>
#include <httplib.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <thread>

#include "base/clock.h"
#include "base/notice.h"
#include "serve/error_body.h"

namespace spillway {
namespace {

std::string lower_case(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return text;
}

// The body of a request, which may be larger than anybody wants to know. Whatever of it is left unread when the reply
// is sent would be taken for the next request of the connection: so the rest is read and dropped, up to a bound, and
// beyond that the connection ends with the reply.
class RequestBody {
 public:
  // `reader`: null where there is none.
  RequestBody(const httplib::Request& in, const httplib::ContentReader* reader, uint64_t drop_bytes_max)
      : reader_(reader),
        is_form_(in.is_multipart_form_data()),
        is_endless_(in.get_header_value_u64("Content-Length") > drop_bytes_max),
        drop_bytes_max_(drop_bytes_max),
        ended_(reader == nullptr) {}

  // At most once. False when it did not come whole, or `sink` returned false.
  bool read(const std::function<bool(std::string_view)>& sink) {
    begun_ = true;
    bool wanted = true;
    ended_ = (*reader_)([&](const char* data, size_t n) {
      wanted = wanted && sink({data, n});
      return wanted || drop(n);
    });
    return ended_ && wanted;
  }

  // False: the connection is of no use any more.
  bool finish() {
    if (ended_ || begun_ || is_endless_) return ended_;
    const auto drop_piece = [this](const char*, size_t n) { return drop(n); };
    ended_ = is_form_ ? (*reader_)([](const httplib::FormData&) { return true; }, drop_piece) : (*reader_)(drop_piece);
    return ended_;
  }

 private:
  bool drop(size_t n) { return (dropped_bytes_ += n) <= drop_bytes_max_; }

  const httplib::ContentReader* const reader_;
  const bool is_form_, is_endless_;
  const uint64_t drop_bytes_max_;
  bool begun_ = false, ended_;
  uint64_t dropped_bytes_ = 0;
};

class HttplibServer : public WebServer {
 public:
  HttplibServer(WebServerOptions options, Handler handler, InPieces in_pieces)
      : options_(std::move(options)), handler_(std::move(handler)), in_pieces_(in_pieces), guard_(options_.guard) {
    server_.new_task_queue = [n = options_.connections_max] {
      return new httplib::ThreadPool(std::min<size_t>(8, n), n, 256);  // httplib deletes it
    };
    server_.set_read_timeout(options_.read_timeout_s);
    server_.set_write_timeout(options_.write_timeout_s);
    server_.set_keep_alive_timeout(options_.keep_alive_s);
    server_.set_keep_alive_max_count(100000);
    server_.set_tcp_nodelay(true);
    // The library would share a port that another server has (SO_REUSEPORT), and each would get some of the requests.
    server_.set_socket_options([](socket_t socket) {
      const int yes = 1;
      setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    });
    // Bodies are bounded here, by kind; the library's own bound would hold for blobs too.
    server_.set_payload_max_length(SIZE_MAX);
    const auto without_body = [this](const httplib::Request& request, httplib::Response& response) {
      answer(request, response, nullptr);
    };
    const auto with_body = [this](const httplib::Request& request, httplib::Response& response,
                                  const httplib::ContentReader& reader) { answer(request, response, &reader); };
    server_.Get(".*", without_body);
    server_.Options(".*", without_body);
    server_.Post(".*", with_body);
    server_.Put(".*", with_body);
    server_.Patch(".*", with_body);
    server_.Delete(".*", with_body);
    // What the library refuses by itself: a request it cannot parse, headers beyond its bounds.
    server_.set_error_handler([](const httplib::Request&, httplib::Response& response) {
      if (response.body.empty() && response.status >= 400 && !response.has_header("Content-Type"))
        response.set_content(fmt::format(R"({{"error":"{}"}})", httplib::status_message(response.status)),
                             "application/json; charset=utf-8");
    });
    server_.set_exception_handler(
        [](const httplib::Request& in, httplib::Response& response, std::exception_ptr problem) {
          std::string what = "unknown";
          try {
            std::rethrow_exception(problem);
          } catch (const std::exception& e) {
            what = e.what();
          } catch (...) {
          }
          notice(fmt::format("a request failed: {}", what));
          response.status = 500;
          WebRequest request;
          request.path = in.path;
          response.set_content(error_body(request, 500, "internal error"), "application/json; charset=utf-8");
        });
  }
  ~HttplibServer() override { stop(); }

  Result<void> listen() {
    port_ = options_.port == 0                                   ? server_.bind_to_any_port(options_.host)
            : server_.bind_to_port(options_.host, options_.port) ? options_.port
                                                                 : -1;
    if (port_ < 0)
      return error(
          Code::kUnavailable,
          fmt::format("{}:{} cannot be listened on (taken by another server, or not an address of this machine); "
                      "choose another with --host and --port",
                      options_.host, options_.port));
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    server_.wait_until_ready();
    return {};
  }

  int port() const override { return port_; }
  void stop() override {
    server_.stop();
    if (thread_.joinable()) thread_.join();
  }

 private:
  void answer(const httplib::Request& in, httplib::Response& out, const httplib::ContentReader* reader) {
    const Stopwatch watch;
    WebRequest request;
    request.method = in.method;
    request.path = in.path;
    for (const auto& [name, value] : in.headers) request.headers.emplace(lower_case(name), value);
    for (const auto& [name, value] : in.params) request.query.emplace(name, value);
    request.remote = in.remote_addr;
    request.is_gone = in.is_connection_closed;

    WebReply reply;
    RequestBody body(in, reader, options_.body_bytes_max);
    if (auto refused = guard_.check(request)) {
      reply = std::move(*refused);
    } else if (reader != nullptr && in_pieces_(request.method, request.path)) {
      request.read_body = [&body](const std::function<bool(std::string_view)>& sink) { return body.read(sink); };
      reply = handler_(request);
      request.read_body = nullptr;
    } else if (reader != nullptr && in.is_multipart_form_data()) {
      reply = {.status = 415, .body = error_body(request, 415, "forms are not taken: send the request as JSON")};
    } else if (auto problem = reader != nullptr ? read_body(in, out, body, request) : std::nullopt) {
      reply = std::move(*problem);
    } else {
      reply = handler_(request);
    }
    for (const auto& [name, value] : guard_.cors_headers(request)) out.set_header(name, value);
    // As Anthropic's and OpenAI's clients read it.
    for (const char* name : {"request-id", "x-request-id"}) out.set_header(name, request.id);
    const bool closes = !body.finish();
    // HTTP 1.0 has no chunks: there the stream ends with the connection.
    if (reply.stream) return send_stream(request, std::move(reply), in.version == "HTTP/1.0", closes, out, watch);
    if (closes)
      send_and_close(std::move(reply), out);
    else
      send(std::move(reply), out);
    if (options_.log) options_.log(request, out.status, watch.elapsed_s());
  }

  // A reply instead of a body: that is larger than is held in memory, compressed in an unknown way, damaged or cut off.
  std::optional<WebReply> read_body(const httplib::Request& in, const httplib::Response& out, RequestBody& reader,
                                    WebRequest& request) const {
    std::string& body = request.body;
    bool fits = in.get_header_value_u64("Content-Length") <= options_.body_bytes_max;
    const bool whole = fits && reader.read([&](std::string_view piece) {
      fits = body.size() + piece.size() <= options_.body_bytes_max;
      if (fits) body += piece;
      return fits;
    });
    if (whole) return std::nullopt;
    const auto refuse = [&](int status, const std::string& why) -> WebReply {
      return {.status = status, .body = error_body(request, status, why)};
    };
    if (!fits) return refuse(413, fmt::format("the request body is larger than {} bytes", options_.body_bytes_max));
    if (out.status == 415) return refuse(415, "the body's Content-Encoding is none of gzip, deflate, br, zstd");
    return refuse(400, "the request body did not come whole, or is not as its Content-Encoding says");
  }

  void send(WebReply reply, httplib::Response& out) const {
    set_head(reply, out);
    if (!reply.body.empty() || !reply.content_type.empty()) out.set_content(reply.body, reply.content_type);
  }

  void send_and_close(WebReply reply, httplib::Response& out) const {
    set_head(reply, out);
    out.set_header("Connection", "close");
    if (reply.body.empty()) reply.body = "\n";  // the library closes behind a body alone
    const size_t bytes = reply.body.size();
    out.set_content_provider(bytes, reply.content_type,
                             [body = std::move(reply.body)](size_t, size_t, httplib::DataSink& sink) {
                               sink.write(body.data(), body.size());
                               return false;  // all there is: the library closes the connection
                             });
  }

  // Logged when it has ended, which is after this returns.
  void send_stream(WebRequest request, WebReply reply, bool is_http_1_0, bool closes, httplib::Response& out,
                   Stopwatch watch) const {
    set_head(reply, out);
    out.set_header("Cache-Control", "no-cache");
    out.set_header("X-Accel-Buffering", "no");
    request.body.clear();
    auto provide = [this, stream = std::move(reply.stream), request = std::move(request), status = reply.status,
                    closes = closes || is_http_1_0, watch](size_t, httplib::DataSink& sink) {
      bool reads = true;
      stream([&](std::string_view bytes) { return reads = reads && sink.write(bytes.data(), bytes.size()); });
      if (reads) sink.done();
      if (options_.log) options_.log(request, status, watch.elapsed_s());
      return reads && !closes;  // false: the library closes the connection
    };
    if (is_http_1_0)
      out.set_content_provider(reply.content_type, std::move(provide));
    else
      out.set_chunked_content_provider(reply.content_type, std::move(provide));
  }

  static void set_head(const WebReply& reply, httplib::Response& out) {
    out.status = reply.status;
    out.set_header("Server", "spillway");
    for (const auto& [name, value] : reply.headers) out.set_header(name, value);
  }

  const WebServerOptions options_;
  const Handler handler_;
  const InPieces in_pieces_;
  const WebGuard guard_;
  httplib::Server server_;
  int port_ = -1;
  std::thread thread_;
};

}  // namespace

Result<std::unique_ptr<WebServer>> WebServer::start(WebServerOptions options, Handler handler, InPieces in_pieces) {
  auto server = std::make_unique<HttplibServer>(std::move(options), std::move(handler), in_pieces);
  RETURN_IF_ERROR(server->listen());
  return server;
}

}  // namespace spillway
