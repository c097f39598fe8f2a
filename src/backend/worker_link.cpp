// SPDX-License-Identifier: MIT
#include "backend/worker_link.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <system_error>

#include "base/bytes.h"
#include "base/clock.h"
#include "os/machine.h"

namespace spillway {
namespace {

constexpr double kGreet_s = 5;  // a worker that is free answers a hello at once
constexpr double kAcceptAgain_s = 0.1;
constexpr size_t kPieceBytes = 256 << 10;

using Length = std::array<std::byte, sizeof(uint64_t)>;

uint64_t number(const Length& bytes) {
  uint64_t value = 0;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

Length bytes_of(uint64_t value) {
  Length bytes;
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

bool is_stop(const Status& status) { return status.code() == Code::kCancelled; }

Status nonsense(const std::string& what) {
  return {Code::kUnavailable, fmt::format("{}; is it a ggml-rpc-server?", what)};
}

Result<void> check_version(const ProtocolVersion& version) {
  if (version.major == kWorkerProtocolMajor && version.minor <= kWorkerProtocolMinor) return {};
  return error(
      Code::kUnsupported,
      fmt::format("speaks version {}.{} of ggml's protocol and this program {}.{}; install the same llama.cpp on "
                  "both machines",
                  version.major, version.minor, kWorkerProtocolMajor, kWorkerProtocolMinor));
}

}  // namespace

struct WorkerLink::Request {
  uint8_t command = 0;
  std::array<std::byte, kRequestHeadBytes> head{};
  std::array<std::byte, kRequestTailBytes> tail{};
  size_t head_bytes = 0, tail_bytes = 0;

  // The payload passes by in pieces; its beginning and its end are kept.
  void note(std::span<const std::byte> piece) {
    const size_t n_head = std::min(piece.size(), head.size() - head_bytes);
    std::copy_n(piece.begin(), n_head, head.begin() + head_bytes);
    head_bytes += n_head;
    const size_t n = std::min(piece.size(), tail.size());
    const size_t kept = std::min(tail_bytes, tail.size() - n);
    std::memmove(tail.data(), tail.data() + tail_bytes - kept, kept);
    std::memcpy(tail.data() + kept, piece.data() + piece.size() - n, n);
    tail_bytes = kept + n;
  }
  AnswerShape shape() const { return answer_shape(command, std::span(tail).first(tail_bytes)); }
};

Result<std::shared_ptr<WorkerLink>> WorkerLink::open(const TcpAddress& worker) {
  std::shared_ptr<WorkerLink> link(new WorkerLink(worker));
  ASSIGN_OR_RETURN(link->stop_, StopEvent::open());
  ASSIGN_OR_RETURN(link->listener_, TcpListener::open());
  link->piece_.resize(kPieceBytes);
  try {
    link->thread_ = std::thread([raw = link.get()] { raw->loop(); });
  } catch (const std::system_error& e) {
    return error(Code::kIo, fmt::format("a thread for worker {}: {}", worker.text(), e.what()));
  }
  return link;
}

WorkerLink::~WorkerLink() {
  if (!thread_.joinable()) return;
  stop_.raise();
  thread_.join();
}

std::string WorkerLink::endpoint() const { return fmt::format("127.0.0.1:{}", listener_.port()); }

Result<double> WorkerLink::greet() const {
  const Stopwatch watch;
  auto connected = TcpStream::connect(worker_, kGreet_s);
  if (!connected) return error(connected.error().code(), fmt::format("worker {}", connected.error().message()));
  TcpStream worker = std::move(*connected);
  const double connect_s = watch.elapsed_s();
  const auto hello = [&]() -> Result<void> {
    // What we offer beyond TCP: 24 zeros, nothing.
    std::array<std::byte, kRequestHeaderBytes + 24> request{};
    request[0] = std::byte{kWorkerHello};
    request[1] = std::byte{24};
    RETURN_IF_ERROR(worker.send(request, kGreet_s, stop_));
    Length length;
    RETURN_IF_ERROR(worker.receive(length, kGreet_s, stop_));
    ShortAnswer answer{};
    const uint64_t bytes = answer_shape(kWorkerHello, {}).bytes;
    if (number(length) != bytes) return Failure(nonsense("does not say hello as a worker does"));
    RETURN_IF_ERROR(worker.receive(std::span(answer).first(bytes), kGreet_s, stop_));
    return check_version(version_of_hello(answer));
  };
  if (auto said = hello(); !said)
    return error(said.error().code(),
                 fmt::format("worker {} {}{}", worker_.text(), said.error().message(),
                             said.error().message().starts_with("was silent")
                                 ? " when greeted; does it serve somebody else, or is it no ggml-rpc-server?"
                                 : ""));
  return connect_s;
}

Result<void> WorkerLink::check() const {
  const MutexLock lock(mutex_);
  if (lost_) return Failure(*lost_);
  return {};
}

Result<void> WorkerLink::check_room() const {
  const MutexLock lock(mutex_);
  if (refused_bytes_ == 0) return {};
  return error(Code::kUnavailable,
               fmt::format("worker {} has no memory for {} more; give it fewer layers (--gpu-layers)", worker_.text(),
                           format_bytes(refused_bytes_)));
}

// The first reason is the one that counts; what follows it is our own doing.
void WorkerLink::lose(TcpStream& worker, const std::string& why) {
  worker = {};
  const MutexLock lock(mutex_);
  if (!lost_)
    lost_ = Status(Code::kUnavailable,
                   fmt::format("worker {} {}; what it held is lost: load the model again", worker_.text(), why));
}

// --- the relay's thread

void WorkerLink::loop() {
  name_thread("worker-link");
  while (true) {
    auto client = listener_.accept(stop_);
    if (!client) {
      // No descriptors are left, say: ggml's connection waits until there are.
      if (is_stop(client.error()) || stop_.raised_within(kAcceptAgain_s)) return;
      continue;
    }
    in_use_ = true;
    serve(std::move(*client));
    in_use_ = false;
  }
}

// One connection of ggml's, until it hangs up.
void WorkerLink::serve(TcpStream client) {
  TcpStream worker;
  answers_.forget_buffers();
  if (check()) {
    auto connected = TcpStream::connect(worker_, kGreet_s);
    if (connected)
      worker = std::move(*connected);
    else
      lose(worker, fmt::format("cannot be reached ({})", connected.error().message()));
  }
  while (relay(client, worker)) {
  }
}

// One command with its answer. Fails when ggml has hung up, and when everything stops.
Result<void> WorkerLink::relay(TcpStream& client, TcpStream& worker) {
  if (worker.valid()) {
    // A worker that says something unasked has closed, or is none.
    ASSIGN_OR_RETURN(const bool asked, first_is_readable(client, worker, stop_));
    if (!asked) {
      std::byte one{};
      auto received = worker.receive(std::span(&one, 1), 0, stop_);
      if (!received && is_stop(received.error())) return received;
      lose(worker, received ? nonsense("talks without being asked").message() : received.error().message());
      return {};
    }
  }
  Request request;
  RETURN_IF_ERROR(pass_on(client, worker, request));
  return answer(client, worker, request);
}

Result<void> WorkerLink::pass_on(TcpStream& client, TcpStream& worker, Request& request) {
  // 1. Header and the first piece go on together: one packet for most commands.
  const std::span<std::byte> buffer(piece_);
  const std::span<std::byte, kRequestHeaderBytes> header = buffer.first<kRequestHeaderBytes>();
  RETURN_IF_ERROR(client.receive(header, kForEver_s, stop_));
  const RequestHeader parsed = read_request_header(header);
  request.command = parsed.command;
  uint64_t left_bytes = parsed.payload_bytes;
  size_t filled = kRequestHeaderBytes;
  // 2. All pieces, whether somebody takes them or not.
  Patience patience(answer_s_, left_bytes);
  while (left_bytes > 0 || filled > 0) {
    const auto n = static_cast<size_t>(std::min<uint64_t>(left_bytes, buffer.size() - filled));
    const std::span<std::byte> piece = buffer.subspan(filled, n);
    RETURN_IF_ERROR(client.receive(piece, kForEver_s, stop_));
    // A faster way than TCP would lead past us: it is not offered.
    if (request.command == kWorkerHello) std::fill(piece.begin(), piece.end(), std::byte{0});
    request.note(piece);
    left_bytes -= n;
    if (worker.valid()) {
      auto sent = worker.send(buffer.first(filled + n), patience, stop_);
      if (!sent && is_stop(sent.error())) return sent;
      if (!sent) lose(worker, sent.error().message());
    }
    filled = 0;
  }
  return {};
}

Result<void> WorkerLink::answer(TcpStream& client, TcpStream& worker, const Request& request) {
  const AnswerShape shape = request.shape();
  switch (shape.kind) {
    case AnswerKind::kNone:
      (void)can_be_true(request, {});
      return {};
    case AnswerKind::kUnknownCommand:
      // Nobody knows whether ggml waits now. What it would be told cannot be checked, so it is told nothing.
      lose(worker, fmt::format("was sent a command this program does not know ({})", request.command));
      return error(Code::kUnsupported, "unknown command");
    case AnswerKind::kFixed:
    case AnswerKind::kTensor:
      break;
  }
  if (!worker.valid()) return stand_in(client, request, shape.bytes);
  Length length{};
  const double limit_s = request.command == kWorkerHello ? std::min<double>(kGreet_s, answer_s_) : answer_s_.load();
  auto received = worker.receive(length, limit_s, stop_);
  if (!received && is_stop(received.error())) return received;
  if (received && number(length) != shape.bytes)
    received = Failure(nonsense(fmt::format("answered {} bytes where {} were due", number(length), shape.bytes)));
  if (!received) {
    lose(worker, received.error().message());
    return stand_in(client, request, shape.bytes);
  }
  if (shape.kind == AnswerKind::kFixed) return answer_short(client, worker, request, shape.bytes);
  return answer_tensor(client, worker, shape.bytes);
}

// Looked at before ggml sees it.
Result<void> WorkerLink::answer_short(TcpStream& client, TcpStream& worker, const Request& request, size_t bytes) {
  ShortAnswer answer{};
  const std::span<std::byte> used = std::span(answer).first(bytes);
  auto received = worker.receive(used, answer_s_, stop_);
  if (!received && is_stop(received.error())) return received;
  if (received && request.command == kWorkerHello) {
    received = check_version(version_of_hello(used));
    std::fill(used.begin() + 4, used.end(), std::byte{0});  // as in pass_on: no way past us
  }
  if (received && !can_be_true(request, used)) received = Failure(nonsense("answered what no worker would"));
  if (!received) {
    lose(worker, received.error().message());
    return stand_in(client, request, bytes);
  }
  std::array<std::byte, sizeof(Length) + kShortAnswerBytes> message{};
  const Length length = bytes_of(bytes);
  std::copy(length.begin(), length.end(), message.begin());
  std::copy(used.begin(), used.end(), message.begin() + length.size());
  return client.send(std::span(message).first(length.size() + bytes), kForEver_s, stop_);
}

bool WorkerLink::can_be_true(const Request& request, std::span<const std::byte> answer) {
  if (!answers_.take(request.command, std::span(request.head).first(request.head_bytes), answer)) return false;
  const MutexLock lock(mutex_);
  refused_bytes_ = answers_.refused_bytes();
  return true;
}

Result<void> WorkerLink::answer_tensor(TcpStream& client, TcpStream& worker, uint64_t bytes) {
  RETURN_IF_ERROR(client.send(bytes_of(bytes), kForEver_s, stop_));
  Patience patience(answer_s_, bytes);
  while (bytes > 0) {
    const std::span<std::byte> piece =
        std::span(piece_).first(static_cast<size_t>(std::min<uint64_t>(bytes, piece_.size())));
    if (worker.valid()) {
      auto received = worker.receive(piece, patience, stop_);
      if (!received && is_stop(received.error())) return received;
      if (!received) lose(worker, received.error().message());
    }
    if (!worker.valid()) std::fill(piece.begin(), piece.end(), std::byte{0});
    RETURN_IF_ERROR(client.send(piece, kForEver_s, stop_));
    bytes -= piece.size();
  }
  return {};
}

Result<void> WorkerLink::stand_in(TcpStream& client, const Request& request, uint64_t bytes) {
  if (request.shape().kind == AnswerKind::kTensor) {
    TcpStream nobody;
    return answer_tensor(client, nobody, bytes);
  }
  RETURN_IF_ERROR(client.send(bytes_of(bytes), kForEver_s, stop_));
  const ShortAnswer answer = stand_in_answer(request.command);
  return client.send(std::span(answer).first(static_cast<size_t>(bytes)), kForEver_s, stop_);
}

}  // namespace spillway
