// SPDX-License-Identifier: MIT
// Boost.Beast reads what HTTP frames, Boost.Asio waits; this file and web_server.cpp alone know them.
#include "serve/web_connection.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/post.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/read.hpp>
#include <chrono>
#include <exception>
#include <limits>
#include <thread>
#include <utility>

#include "base/notice.h"
#include "base/saturating_sub.h"
#include "os/memory.h"
#include "serve/error_body.h"
#include "serve/last_words.h"
#include "serve/web_body.h"
#include "serve/web_head.h"

namespace spillway {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;

constexpr size_t kHeadBytesMax = 64u << 10;
constexpr size_t kPieceBytes = 64u << 10;
// So much of a body is held without asking whether all of them together are too large.
constexpr uint64_t kFreeBodyBytes = 64u << 10;
// What was read from a request, and what its reply was made of, are many small pieces. The allocator keeps them for
// whoever comes next, and the budget of the models would be short of them: behind so much they go back to the system.
constexpr uint64_t kLargeBytes = 1u << 20;
// A client that is told early that its body is not wanted may read that before the connection is gone: so long, and so
// much of the body is thrown away meanwhile.
constexpr int kLinger_s = 5;
// Whose request does not come whole in this time is slow.
constexpr double kSlow_s = 1;
constexpr size_t kLingerBytes = 16u << 20;

// What poll() always tells is asked for by naming nothing.
#ifdef POLLRDHUP
constexpr short kPollGone = POLLRDHUP;
#else
constexpr short kPollGone = 0;
#endif

std::string lower_case(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return out;
}

// A socket that is read from and waited for at once, by the worker that owns it. Beast's parser reads from it. All that
// one reads has to come within the time, each piece that is written has it anew.
class PolledSocket {
 public:
  PolledSocket(int fd, int timeout_s, const std::atomic<bool>& stopping)
      : fd_(fd), timeout_s_(timeout_s), stopping_(stopping) {}

  template <typename Buffers>
  size_t read_some(const Buffers& buffers, boost::system::error_code& problem) {
    const asio::mutable_buffer first = *asio::buffer_sequence_begin(buffers);
    for (;;) {
      const ssize_t n = ::recv(fd_, first.data(), first.size(), MSG_DONTWAIT);
      problem = {};
      if (n > 0) return static_cast<size_t>(n);
      if (n == 0) problem = asio::error::eof;
      if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) {
        if (n < 0) problem = asio::error::connection_reset;
        return 0;
      }
      if (!wait_for(POLLIN, since_made_)) {
        problem = beast::error::timeout;
        return 0;
      }
    }
  }

  // Beast wants this one to be there, too.
  template <typename Buffers>
  size_t read_some(const Buffers& buffers) {
    boost::system::error_code problem;
    const size_t bytes = read_some(buffers, problem);
    if (problem) throw boost::system::system_error(problem);
    return bytes;
  }

  bool write_all(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (n > 0) {
        bytes.remove_prefix(static_cast<size_t>(n));
        continue;
      }
      if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) return false;
      if (!wait_for(POLLOUT)) return false;
    }
    return true;
  }

 private:
  // false: nothing for too long. When the server stops, nobody is waited for longer than a second.
  bool wait_for(short event, const Stopwatch& watch = Stopwatch()) const {
    constexpr int kStep_ms = 100;
    while (watch.elapsed_s() < (stopping_ ? std::min(timeout_s_, 1) : timeout_s_)) {
      pollfd one{fd_, event, 0};
      if (::poll(&one, 1, kStep_ms) > 0) return true;
    }
    return false;
  }

  const int fd_;
  const int timeout_s_;
  const std::atomic<bool>& stopping_;
  const Stopwatch since_made_;
};

void tell_of_end(const char* what) { notice_if_possible("a connection was ended", what); }

// The allocator's areas are locked meanwhile: one thread at a time goes through them, and once more where others asked.
// Its own client has its reply already.
void give_back_what_was_large() {
  static std::atomic<int> n_asked = 0;
  if (n_asked.fetch_add(1) > 0) return;
  int n_seen = 0;
  do {
    n_seen = n_asked;
    give_back_freed_memory();
  } while (!n_asked.compare_exchange_strong(n_seen, 0));
}

}  // namespace

WebConnection::WebConnection(asio::ip::tcp::socket socket, WebShared& shared)
    : shared_(shared), stream_(std::move(socket)), buffer_(kHeadBytesMax + kPieceBytes) {
  shared_.connections.insert(this);
}

WebConnection::~WebConnection() {
  shared_.held_bytes -= held_bytes_;
  shared_.connections.erase(this);
  if (shared_.on_connection_closed) shared_.on_connection_closed();
}

std::optional<WebConnection::Claim> WebConnection::claim() const {
  if (phase_ != Phase::kIdle && since_head_.elapsed_s() < kSlow_s) return std::nullopt;
  switch (phase_) {
    case Phase::kIdle:
      return Claim{.kind = 0, .weakness = since_idle_.elapsed_s()};
    case Phase::kHead:
      return Claim{.kind = 1, .weakness = since_head_.elapsed_s()};
    case Phase::kAnswering:
      if (!is_receiving_) return std::nullopt;
      [[fallthrough]];
    case Phase::kBody:
      return Claim{.kind = 2,
                   .weakness = since_head_.elapsed_s() / static_cast<double>(kPieceBytes + body_bytes_.load())};
    default:
      return std::nullopt;
  }
}

// The worker's socket is left to it, which finds that nothing comes any more.
void WebConnection::make_room() {
  if (phase_ != Phase::kAnswering) return close();
  ::shutdown(stream_.socket().native_handle(), SHUT_RDWR);
}

void WebConnection::stop() {
  if (phase_ != Phase::kAnswering && phase_ != Phase::kWriting) close();
}

void WebConnection::close() {
  phase_ = Phase::kClosed;
  Error ignored;
  stream_.socket().shutdown(asio::socket_base::shutdown_both, ignored);
  stream_.close();
}

// ---- reading

void WebConnection::wait_for_request() {
  if (shared_.stopping || shared_.is_full) return close();
  phase_ = Phase::kIdle;
  since_idle_ = Stopwatch();
  if (buffer_.size() > 0) return read_head();
  stream_.expires_after(std::chrono::seconds(shared_.options.keep_alive_s));
  stream_.async_read_some(buffer_.prepare(4096), [self = shared_from_this()](Error problem, size_t bytes) {
    if (problem) return self->close();
    self->buffer_.commit(bytes);
    self->read_head();
  });
}

void WebConnection::read_head() {
  phase_ = Phase::kHead;
  since_head_ = Stopwatch();
  closes_ = in_pieces_ = expects_continue_ = false;
  body_bytes_ = 0;
  request_ = WebRequest{};
  Error ignored;
  request_.remote = stream_.socket().remote_endpoint(ignored).address().to_string();
  request_.local = stream_.socket().local_endpoint(ignored).address().to_string();
  encoding_.clear();
  parser_.emplace();
  parser_->header_limit(kHeadBytesMax);
  parser_->body_limit(boost::none);
  stream_.expires_after(std::chrono::seconds(shared_.options.read_timeout_s));
  http::async_read_header(stream_, buffer_, *parser_,
                          [self = shared_from_this()](Error problem, size_t) { self->on_head(problem); });
}

WebReply WebConnection::failure(int status, const std::string& why) const {
  return {.status = status, .body = error_body(request_, status, why)};
}

void WebConnection::on_head(Error problem) {
  if (problem) {
    keeps_ = false;
    if (problem == http::error::header_limit || problem == http::error::buffer_overflow)
      return refuse(failure(431, "the request's headers are too large"));
    const bool is_framing = problem.category() == make_error_code(http::error::bad_method).category();
    if (!is_framing || problem == http::error::end_of_stream || problem == http::error::partial_message) return close();
    return refuse(failure(400, "this is no request of HTTP"));
  }
  auto refusal = take_head();
  if (!refusal) refusal = plan_body();
  if (refusal) return refuse(std::move(*refusal));
  if (parser_->is_done()) return answer();
  on_chunk_ = [this](uint64_t bytes, beast::string_view, Error& bad) { check_chunk(bytes, bad); };
  parser_->on_chunk_header(on_chunk_);
  continue_with_body();
}

// Who asks for what, and whether that is HTTP as it should be. A reply: it is not, or the guard says no.
std::optional<WebReply> WebConnection::take_head() {
  const auto& head = parser_->get();
  is_http_1_0_ = head.version() == 10;
  keeps_ = false;
  request_.method = std::string(head.method_string());
  for (const auto& field : head)
    request_.headers.emplace(lower_case({field.name_string().data(), field.name_string().size()}),
                             std::string(field.value().data(), field.value().size()));
  if (head.version() != 10 && head.version() != 11) return failure(505, "HTTP 1.1 and 1.0 are spoken here");
  if (const auto target = read_target({head.target().data(), head.target().size()}, request_); !target)
    return failure(400, target.error().message());
  const auto n_hosts = head.count(http::field::host);
  if (n_hosts > 1 || (n_hosts == 0 && !is_http_1_0_)) return failure(400, "a request has one Host header");
  if (head.count(http::field::transfer_encoding) > 0) {
    if (is_http_1_0_ || head.count(http::field::content_length) > 0) return failure(400, "two lengths of one body");
    if (lower_case(request_.header("transfer-encoding")) != "chunked")
      return failure(501, "the only Transfer-Encoding that is known is chunked");
  }
  if (const std::string expected = lower_case(request_.header("expect")); !expected.empty() && !is_http_1_0_) {
    if (expected != "100-continue") return failure(417, "the only expectation that is met is 100-continue");
    expects_continue_ = true;
  }
  keeps_ = head.keep_alive();
  return shared_.guard.check(request_);
}

// Whether a body is wanted. A reply: it is not.
std::optional<WebReply> WebConnection::plan_body() {
  BodyPlan plan = shared_.handler.plan_body(request_);
  if (plan.refusal) return std::move(plan.refusal);
  if (parser_->is_done()) return std::nullopt;
  if (!plan.takes_forms && lower_case(request_.header("content-type")).starts_with("multipart/form-data"))
    return failure(415, "forms are not taken: send the request as JSON");
  in_pieces_ = plan.in_pieces;
  encoding_ = lower_case(request_.header("content-encoding"));
  if (!is_known_encoding(encoding_) || (in_pieces_ && !encoding_.empty() && encoding_ != "identity"))
    return failure(415, in_pieces_ ? "a blob has no Content-Encoding"
                                   : "the body's Content-Encoding is none of gzip, deflate, br, zstd");
  const auto length = parser_->content_length();
  if (!in_pieces_ && length && *length > shared_.options.body_bytes_max)
    return failure(413, fmt::format("the request body is larger than {} bytes", shared_.options.body_bytes_max));
  return std::nullopt;
}

// A client that waits to hear that its body is wanted hears it now.
void WebConnection::continue_with_body() {
  phase_ = Phase::kBody;
  const auto go_on = [](const std::shared_ptr<WebConnection>& self) {
    self->in_pieces_ ? self->answer() : self->read_body();
  };
  if (!expects_continue_ || buffer_.size() > 0) return go_on(shared_from_this());
  static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
  stream_.expires_after(std::chrono::seconds(shared_.options.write_timeout_s));
  // So short that it is sent whole, or the client reads nothing.
  stream_.async_write_some(asio::buffer(kContinue), [self = shared_from_this(), go_on](Error problem, size_t bytes) {
    if (problem || bytes != kContinue.size()) return self->close();
    go_on(self);
  });
}

void WebConnection::read_body() {
  piece_.resize(kPieceBytes);
  auto& body = parser_->get().body();
  body.data = piece_.data();
  body.size = piece_.size();
  stream_.expires_after(std::chrono::seconds(shared_.options.read_timeout_s));
  http::async_read(stream_, buffer_, *parser_,
                   [self = shared_from_this()](Error problem, size_t) { self->on_body(problem, self->piece_.size()); });
}

// A chunk says how long it is as a Content-Length does, and is refused as early. Nothing has more than 2^63 bytes.
void WebConnection::check_chunk(uint64_t bytes, Error& problem) const {
  const uint64_t max = shared_.options.body_bytes_max;
  if (bytes > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
    problem = http::error::bad_chunk;
  else if (!in_pieces_ && bytes > saturating_sub(max, request_.body.size()))
    problem = http::error::body_limit;
}

void WebConnection::on_body(Error problem, size_t asked) {
  if (problem == http::error::need_buffer) problem = {};
  if (problem == beast::error::timeout) return close();  // it is closed already
  const size_t bytes = asked - parser_->get().body().size;
  if (problem == http::error::body_limit || request_.body.size() + bytes > shared_.options.body_bytes_max)
    return refuse(
        failure(413, fmt::format("the request body is larger than {} bytes", shared_.options.body_bytes_max)));
  if (problem) return refuse(failure(400, "the request body did not come whole"));
  if (!hold(bytes)) return refuse(failure(503, "too many large requests at once, try again"));
  body_bytes_ += bytes;
  request_.body.append(piece_.data(), bytes);
  if (!parser_->is_done()) return read_body();
  answer();
}

// Any thread that owns the connection, as what follows.
bool WebConnection::hold(uint64_t bytes) {
  held_bytes_ += bytes;
  const uint64_t all = shared_.held_bytes += bytes;
  const uint64_t max =
      shared_.options.bodies_bytes_max > 0 ? shared_.options.bodies_bytes_max : 4 * shared_.options.body_bytes_max;
  if (bytes == 0 || held_bytes_ <= kFreeBodyBytes || all <= max) return true;
  release(bytes);  // who is refused may go on without: of several answers the others do
  return false;
}

void WebConnection::release(uint64_t bytes) {
  held_bytes_ -= bytes;
  shared_.held_bytes -= bytes;
}

// ---- answering, on a worker

void WebConnection::answer() {
  phase_ = Phase::kAnswering;
  stream_.expires_never();
  std::vector<char>().swap(piece_);
  const auto kept = std::make_shared<std::shared_ptr<WebConnection>>(shared_from_this());
  if (leaves_room() && shared_.workers.submit([kept] { work(kept); })) return;
  WebReply busy = failure(503, "too many requests at once, try again");
  busy.headers.emplace_back("Retry-After", "1");
  refuse(std::move(busy));
}

// One client's address has seven eighths of the places at most: whoever asks too much does not keep others out.
bool WebConnection::leaves_room() const {
  const auto n_same =
      std::count_if(shared_.connections.begin(), shared_.connections.end(), [this](const WebConnection* other) {
        return other->phase_ == Phase::kAnswering && other->request_.remote == request_.remote;
      });
  const size_t n_max = shared_.options.requests_max;
  return static_cast<size_t>(n_same) <= n_max - n_max / 8;  // this one is among them
}

// Whatever is thrown, the connection goes back to the io thread, and ends there.
void WebConnection::work(const Kept& kept) {
  WebConnection& self = **kept;
  bool was_large = false;
  try {
    self.broke_off_ = true;
    was_large = self.answer_here();
    self.broke_off_ = false;
  } catch (const std::exception& e) {
    tell_of_end(e.what());
  } catch (...) {
    tell_of_end("what is no exception was thrown");
  }
  hand_back(kept);
  if (was_large) give_back_what_was_large();
}

// The io thread owns what is shared: what keeps the connection alive must not end here, also where there is no memory
// to post it. It is waited for.
void WebConnection::hand_back(const Kept& kept) {
  constexpr auto kPause = std::chrono::milliseconds(50);
  asio::io_context& io = (*kept)->shared_.io;
  for (;;) {
    try {
      return asio::post(io, [kept] { std::exchange(*kept, nullptr)->on_answered(); });
    } catch (const std::exception&) {
      std::this_thread::sleep_for(kPause);
    }
  }
}

// Whether it was large.
bool WebConnection::answer_here() {
  WebReply made = make_reply();
  const bool was_large = body_bytes_ + made.body.size() > kLargeBytes;
  if (made.stream && request_.method != "HEAD")
    send_stream(made);
  else
    made_ = std::move(made);
  return was_large;
}

void WebConnection::on_answered() {
  if (broke_off_) return close();
  if (!made_) return next_or_close();
  WebReply made = std::move(*made_);
  made_.reset();
  reply(std::move(made));
}

WebReply WebConnection::make_reply() {
  try {
    request_.is_gone = [this] { return is_gone(); };
    request_.is_stopping = [this] { return shared_.stopping.load(); };
    request_.may_take = [this](uint64_t bytes) { return hold(bytes); };
    if (in_pieces_) {
      request_.read_body = [this](const std::function<bool(std::string_view)>& sink) { return read_in_pieces(sink); };
    } else if (!encoding_.empty()) {
      auto body = decode_body(encoding_, std::move(request_.body), shared_.options.body_bytes_max,
                              [this](uint64_t bytes) { return hold(bytes); });
      if (!body) {
        const Code code = body.error().code();
        return failure(code == Code::kOutOfBudget ? 413 : code == Code::kBusy ? 503 : 400, body.error().message());
      }
      request_.body = std::move(*body);
    }
    WebReply made = shared_.handler.handle(request_);
    std::string().swap(request_.body);
    return made;
  } catch (const std::exception& e) {
    notice(fmt::format("{} {} failed: {}", request_.method, request_.path, e.what()));
  } catch (...) {
    notice(fmt::format("{} {} failed", request_.method, request_.path));
  }
  return failure(500, "internal error");
}

// Also behind bytes that were sent and not read: a request that waits for its turn.
bool WebConnection::is_gone() const {
  if (shared_.stopping) return true;
  pollfd one{const_cast<beast::tcp_stream&>(stream_).socket().native_handle(), kPollGone, 0};
  if (::poll(&one, 1, 0) > 0) return true;
  char byte = 0;
  const ssize_t n = ::recv(one.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

bool WebConnection::read_in_pieces(const std::function<bool(std::string_view)>& sink) {
  std::vector<char> piece(kPieceBytes);
  is_receiving_ = true;
  while (!parser_->is_done()) {
    PolledSocket socket(stream_.socket().native_handle(), shared_.options.read_timeout_s, shared_.stopping);
    auto& body = parser_->get().body();
    body.data = piece.data();
    body.size = piece.size();
    Error problem;
    http::read(socket, buffer_, *parser_, problem);
    const size_t bytes = piece.size() - parser_->get().body().size;
    body_bytes_ += bytes;
    if ((problem && problem != http::error::need_buffer) || (bytes > 0 && !sink({piece.data(), bytes}))) break;
  }
  is_receiving_ = false;
  return parser_->is_done();
}

bool WebConnection::send_all(std::string_view bytes) {
  return PolledSocket(stream_.socket().native_handle(), shared_.options.write_timeout_s, shared_.stopping)
      .write_all(bytes);
}

// A large one counts as a large reply does, and is not copied. Where it is too much, nothing more can be said.
bool WebConnection::send_piece(std::string_view bytes) {
  if (bytes.size() <= kFreeBodyBytes && is_http_1_0_) return send_all(bytes);
  if (bytes.size() <= kFreeBodyBytes) return send_all(fmt::format("{:x}\r\n{}\r\n", bytes.size(), bytes));
  const bool is_held = hold(bytes.size());
  if (!is_held) notice("a stream broke off: too many large replies at once");
  bool sent = is_held;
  if (!is_http_1_0_) sent = sent && send_all(fmt::format("{:x}\r\n", bytes.size()));
  sent = sent && send_all(bytes);
  if (!is_http_1_0_) sent = sent && send_all("\r\n");
  if (is_held) release(bytes.size());
  return sent;
}

// HTTP 1.0 has no chunks: there the stream ends with the connection. So does one that breaks off.
void WebConnection::send_stream(const WebReply& made) {
  status_ = made.status;
  closes_ = is_http_1_0_ || !keeps_ || !parser_->is_done();
  WebReply head = {.status = made.status, .content_type = made.content_type, .body = {}, .headers = made.headers};
  add_headers(head);
  head.headers.emplace_back("Cache-Control", "no-cache");
  head.headers.emplace_back("X-Accel-Buffering", "no");
  bool whole = send_all(reply_head(head, {.is_http_1_0 = is_http_1_0_, .closes = closes_, .content_length = {}}));
  try {
    if (whole)
      made.stream([&](std::string_view bytes) {
        if (bytes.empty()) return whole;
        whole = whole && send_piece(bytes);
        return whole;
      });
    if (whole && !is_http_1_0_) whole = send_all("0\r\n\r\n");
  } catch (const std::exception& e) {
    notice(fmt::format("the stream of {} broke off: {}", request_.path, e.what()));
    whole = false;
  } catch (...) {
    notice(fmt::format("the stream of {} broke off", request_.path));
    whole = false;
  }
  if (!whole) closes_ = true;
  if (shared_.options.log) shared_.options.log(request_, status_, since_head_.elapsed_s());
}

// ---- writing

void WebConnection::add_headers(WebReply& made) const {
  for (auto& header : shared_.guard.cors_headers(request_)) made.headers.push_back(std::move(header));
  // As Anthropic's and OpenAI's clients read it.
  for (const char* name : {"request-id", "x-request-id"}) made.headers.emplace_back(name, request_.id);
}

// What is left of the request is not read.
void WebConnection::refuse(WebReply early) {
  if (!parser_->is_done()) keeps_ = false;
  reply(std::move(early));
}

void WebConnection::reply(WebReply made) {
  phase_ = Phase::kWriting;
  status_ = made.status;
  closes_ = !keeps_ || !parser_->is_done() || shared_.stopping;
  add_headers(made);
  // A reply is as large as a body can be, and a client may read it slowly.
  release(held_bytes_);
  if (made.body.size() > kFreeBodyBytes && !hold(made.body.size())) {
    made = failure(503, "too many large replies at once, try again");
    add_headers(made);
    status_ = made.status;
  }
  out_ = reply_head(made, {.is_http_1_0 = is_http_1_0_, .closes = closes_, .content_length = made.body.size()});
  if (request_.method != "HEAD" && made.status != 204 && made.status != 304) out_ += made.body;
  out_done_ = 0;
  write_rest();
}

void WebConnection::write_rest() {
  stream_.expires_after(std::chrono::seconds(shared_.options.write_timeout_s));
  stream_.async_write_some(asio::buffer(out_.data() + out_done_, std::min(out_.size() - out_done_, kPieceBytes)),
                           [self = shared_from_this()](Error problem, size_t bytes) {
                             self->out_done_ += bytes;
                             if (!problem && self->out_done_ < self->out_.size()) return self->write_rest();
                             if (self->shared_.options.log)
                               self->shared_.options.log(self->request_, self->status_, self->since_head_.elapsed_s());
                             if (problem) return self->close();
                             self->next_or_close();
                           });
}

void WebConnection::next_or_close() {
  release(held_bytes_);
  std::string().swap(out_);
  request_ = WebRequest{};
  if (closes_) return linger();
  parser_.reset();
  wait_for_request();
}

// Closing at once would make the system tell the client that its bytes were thrown away, before it has read why.
void WebConnection::linger() {
  phase_ = Phase::kLingering;
  Error problem;
  stream_.socket().shutdown(asio::socket_base::shutdown_send, problem);
  if (problem || shared_.stopping) return close();
  stream_.expires_after(std::chrono::seconds(kLinger_s));
  out_done_ = 0;
  discard();
}

void WebConnection::discard() {
  buffer_.clear();
  stream_.async_read_some(buffer_.prepare(kPieceBytes), [self = shared_from_this()](Error problem, size_t bytes) {
    self->out_done_ += bytes;
    if (problem || self->out_done_ > kLingerBytes) return self->close();
    self->discard();
  });
}

}  // namespace spillway
