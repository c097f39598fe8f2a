// SPDX-License-Identifier: MIT
// What ggml's RPC protocol answers to what, as far as somebody in the middle must know. Seen on the wire of the server
// that comes with the library; the tests compare it with that server again on every run.
//
//   request   command 1 byte, length 8 bytes, payload      answer   length 8 bytes, payload; many commands have none
//
// Pure.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace spillway {

// The version this knows; others exist, and ggml refuses to mix them.
inline constexpr uint8_t kWorkerProtocolMajor = 8, kWorkerProtocolMinor = 0;

inline constexpr uint8_t kWorkerHello = 14;
inline constexpr size_t kRequestHeaderBytes = 9;
// Of a request, the end that tells how long its answer is.
inline constexpr size_t kRequestTailBytes = 32;
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

// Whether an answer of the right length can be true. ggml divides by some and loops over others unseen. `tail` as
// above.
bool is_plausible_answer(uint8_t command, std::span<const std::byte> tail, std::span<const std::byte> answer);

// What ggml can live with when nobody answers: no memory to be had, no device, the data is there already.
using ShortAnswer = std::array<std::byte, kShortAnswerBytes>;
ShortAnswer stand_in_answer(uint8_t command);

// Major and minor version in the answer to a hello.
struct ProtocolVersion {
  uint8_t major = 0, minor = 0;
};
ProtocolVersion version_of_hello(std::span<const std::byte> answer);

}  // namespace spillway
