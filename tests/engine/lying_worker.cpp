// SPDX-License-Identifier: MIT
#include "engine/lying_worker.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "backend/worker_protocol.h"

namespace spillway {
namespace {

using Bytes = std::vector<std::byte>;

constexpr double kPatience_s = 30;

}  // namespace

LyingWorker::LyingWorker(uint16_t real_port, Lie lie)
    : real_port_(real_port), lie_(std::move(lie)), stop_(*StopEvent::open()), listener_(*TcpListener::open()) {
  thread_ = std::thread([this] { loop(); });
}

LyingWorker::~LyingWorker() {
  stop_.raise();
  thread_.join();
}

// One connection after the other, as a real one.
void LyingWorker::loop() {
  while (true) {
    auto client = listener_.accept(stop_);
    if (!client) return;
    auto real = TcpStream::connect({.host = "127.0.0.1", .port = real_port_}, kPatience_s);
    if (!real) return;
    while (relay(*client, *real)) {
    }
  }
}

bool LyingWorker::relay(TcpStream& client, TcpStream& real) {
  Bytes request(kRequestHeaderBytes);
  if (!client.receive(request, kForEver_s, stop_)) return false;
  const RequestHeader header = read_request_header(std::span(request).first<kRequestHeaderBytes>());
  request.resize(kRequestHeaderBytes + header.payload_bytes);
  if (!client.receive(std::span(request).subspan(kRequestHeaderBytes), kPatience_s, stop_)) return false;
  if (!real.send(request, kPatience_s, stop_)) return false;
  const size_t tail_bytes = std::min<size_t>(header.payload_bytes, kRequestTailBytes);
  const AnswerShape shape = answer_shape(header.command, std::span(request).last(tail_bytes));
  if (shape.kind == AnswerKind::kNone) return true;
  constexpr size_t kLengthBytes = sizeof(uint64_t);
  Bytes answer(kLengthBytes + shape.bytes);
  if (!real.receive(answer, kPatience_s, stop_)) return false;
  if (header.command == lie_.command && ++n_answers_ == lie_.nth)
    std::copy(lie_.answer.begin(), lie_.answer.end(), answer.begin() + kLengthBytes);
  return client.send(answer, kPatience_s, stop_).has_value();
}

}  // namespace spillway
