// SPDX-License-Identifier: MIT
// What ggml's RPC protocol answers to what, as far as somebody in the middle must know. Seen on the wire of the server
// that comes with the library; the tests compare it with that server again on every run.
//
//   request   command 1 byte, length 8 bytes, payload      answer   length 8 bytes, payload; many commands have none
//
// One thread uses a WorkerAnswers; the rest is pure.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>

namespace spillway {

// The version this knows; others exist, and ggml refuses to mix them.
inline constexpr uint8_t kWorkerProtocolMajor = 8, kWorkerProtocolMinor = 0;

inline constexpr uint8_t kWorkerHello = 14;
inline constexpr size_t kRequestHeaderBytes = 9;
// Of a request, the end that tells how long its answer is, and the beginning that tells what it is about.
inline constexpr size_t kRequestTailBytes = 32;
inline constexpr size_t kRequestHeadBytes = 64;
// Answers up to this length mean something by themselves; longer ones are contents of tensors.
inline constexpr size_t kShortAnswerBytes = 32;

struct RequestHeader {
  uint8_t command = 0;
  uint64_t payload_bytes = 0;
};
RequestHeader read_request_header(std::span<const std::byte, kRequestHeaderBytes> bytes);

enum class AnswerKind { kUnknownCommand, kNone, kFixed, kTensor };
struct AnswerShape {
  AnswerKind kind = AnswerKind::kUnknownCommand;
  uint64_t bytes = 0;
};
// `tail`: the last bytes of the payload, at most kRequestTailBytes.
AnswerShape answer_shape(uint8_t command, std::span<const std::byte> tail);

// What a worker says of itself and of its buffers, each held against what it said before. ggml divides by some of it,
// loops over some and adds up the rest, all unseen.
class WorkerAnswers {
 public:
  // Takes the answer, of the right length, to a request whose payload begins with `head` (all of it, or
  // kRequestHeadBytes). False: it cannot be true.
  bool take(uint8_t command, std::span<const std::byte> head, std::span<const std::byte> answer);
  // ggml hung up, and the worker freed what it held. What it is stays what it is.
  void forget_buffers();

  // Of the last buffer that was asked for, where there was no memory for it; else 0.
  uint64_t refused_bytes() const { return refused_bytes_; }

 private:
  struct Buffer {
    uint32_t device = 0;
    uint64_t bytes = 0;
  };
  bool take_buffer(std::span<const std::byte> head, std::span<const std::byte> answer);
  bool can_begin_at(uint64_t base, const Buffer& buffer) const;

  std::map<uint32_t, uint64_t> alignments_;  // by device
  std::map<uint64_t, Buffer> buffers_;       // by the worker's name for it
  uint64_t refused_bytes_ = 0;
};

// What ggml can live with when nobody answers: no memory to be had, no device, the data is there already.
using ShortAnswer = std::array<std::byte, kShortAnswerBytes>;
ShortAnswer stand_in_answer(uint8_t command);

// Major and minor version in the answer to a hello.
struct ProtocolVersion {
  uint8_t major = 0, minor = 0;
};
ProtocolVersion version_of_hello(std::span<const std::byte> answer);

}  // namespace spillway
