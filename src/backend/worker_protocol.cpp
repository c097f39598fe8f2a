// SPDX-License-Identifier: MIT
#include "backend/worker_protocol.h"

#include <bit>
#include <cstring>

namespace spillway {
namespace {

enum Command : uint8_t {
  kAllocate = 0,
  kAlignment = 1,
  kLargest = 2,
  kBase = 3,
  kFree = 4,
  kClear = 5,
  kSet = 6,
  kSetByHash = 7,
  kGet = 8,
  kCopy = 9,
  kCompute = 10,
  kMemory = 11,
  kInit = 12,
  kAllocationSize = 13,
  kHello = kWorkerHello,
  kDevices = 15,
  kComputeAgain = 16,
  kFill = 17,
  kSet2d = 18,
  kGet2d = 19,
  kJoin = 20,
  kReduce = 21,
  kLeave = 22,
};

constexpr uint64_t kAlignmentMax = 4096;
constexpr uint32_t kDevicesMax = 64;
constexpr uint64_t kMoreAllocatedMax = 1 << 30, kBufferBytesMax = 1ull << 56;
// Where sums beyond a buffer's end would wrap, none ends. Some devices count from 1,024, and on Android addresses have
// a tag in their highest byte: little else can be said of them.
constexpr uint64_t kBehindBufferMin = 1ull << 48;
// Devices pad rows, and want room beside what they compute: Metal's attention takes 32 results in f32.
constexpr uint64_t kElementsMax = 1ull << 48, kBytesPerElementMax = 512, kMoreTensorBytesMax = 64 << 20;
constexpr uint64_t kElementsPerByteMax = 8;
// Of a tensor in a request: a device and 20 bytes before it, then its four sides.
constexpr size_t kSidesAt = 24, kSides = 4;
// Where a buffer that is not there begins: anything but zero, and aligned.
constexpr uint64_t kStandInBase = 1 << 30;
constexpr uint64_t kStandInMemory = 1 << 30;
constexpr uint64_t kStandInAlignment = 128;

uint64_t number_at(std::span<const std::byte> bytes, size_t at) {
  uint64_t number = 0;
  if (at + sizeof number <= bytes.size()) std::memcpy(&number, bytes.data() + at, sizeof number);
  return number;
}

uint32_t small_number_at(std::span<const std::byte> bytes, size_t at) {
  uint32_t number = 0;
  if (at + sizeof number <= bytes.size()) std::memcpy(&number, bytes.data() + at, sizeof number);
  return number;
}

// Of the tensor that a request is about.
uint64_t elements(std::span<const std::byte> head) {
  uint64_t n = 1;
  for (size_t i = 0; i < kSides; ++i) {
    const uint64_t side = small_number_at(head, kSidesAt + i * sizeof(uint32_t));
    if (side == 0) return 0;
    if (n > kElementsMax / side) return kElementsMax;
    n *= side;
  }
  return n;
}

bool can_take(uint64_t n_elements, uint64_t bytes) {
  return bytes >= n_elements / kElementsPerByteMax && bytes <= n_elements * kBytesPerElementMax + kMoreTensorBytesMax;
}

// The `i`th number from the end of the payload, the last one being 0.
uint64_t number_from_end(std::span<const std::byte> tail, size_t i) {
  const size_t behind = (i + 1) * sizeof(uint64_t);
  return behind <= tail.size() ? number_at(tail, tail.size() - behind) : 0;
}

void put(ShortAnswer& answer, size_t at, uint64_t number) { std::memcpy(answer.data() + at, &number, sizeof number); }

}  // namespace

RequestHeader read_request_header(std::span<const std::byte, kRequestHeaderBytes> bytes) {
  return {.command = std::to_integer<uint8_t>(bytes[0]), .payload_bytes = number_at(bytes, 1)};
}

AnswerShape answer_shape(uint8_t command, std::span<const std::byte> tail) {
  const auto fixed = [](uint64_t bytes) { return AnswerShape{AnswerKind::kFixed, bytes}; };
  switch (command) {
    case kSetByHash:
    case kCopy:
    case kJoin:
      return fixed(1);
    case kDevices:
      return fixed(4);
    case kAlignment:
    case kLargest:
    case kBase:
    case kAllocationSize:
      return fixed(8);
    case kAllocate:
    case kMemory:
      return fixed(16);
    case kHello:
      return fixed(28);
    case kGet:  // ends with: offset, length
      return {AnswerKind::kTensor, number_from_end(tail, 0)};
    case kGet2d:  // ends with: offset, length of a piece, pieces, stride
      return {AnswerKind::kTensor, number_from_end(tail, 2) * number_from_end(tail, 1)};
    case kFree:
    case kClear:
    case kSet:
    case kCompute:
    case kInit:
    case kComputeAgain:
    case kFill:
    case kSet2d:
    case kReduce:
    case kLeave:
      return {AnswerKind::kNone, 0};
    default:
      return {};
  }
}

bool WorkerAnswers::take(uint8_t command, std::span<const std::byte> head, std::span<const std::byte> answer) {
  const uint64_t number = number_at(answer, 0);
  switch (command) {
    case kAlignment:  // of a device
      if (!std::has_single_bit(number) || number > kAlignmentMax) return false;
      alignments_[small_number_at(head, 0)] = number;
      return true;
    case kLargest:
      return number != 0;
    case kAllocate:
      return take_buffer(head, answer);
    case kBase: {  // of a buffer
      const auto buffer = buffers_.find(number_at(head, 0));
      return can_begin_at(number, buffer == buffers_.end() ? Buffer{} : buffer->second);
    }
    case kFree:
      buffers_.erase(number_at(head, 0));
      return true;
    case kAllocationSize:
      return can_take(elements(head), number);
    case kDevices: {
      const uint32_t n_devices = small_number_at(answer, 0);
      return n_devices > 0 && n_devices <= kDevicesMax;
    }
    default:
      return true;
  }
}

// Asked for: a device, bytes. Answered: a name, bytes. A worker may refuse, or give somewhat more.
bool WorkerAnswers::take_buffer(std::span<const std::byte> head, std::span<const std::byte> answer) {
  const uint64_t asked = number_at(head, sizeof(uint32_t)), given = number_at(answer, sizeof(uint64_t));
  const uint64_t name = number_at(answer, 0);
  refused_bytes_ = name == 0 ? asked : 0;
  if (name == 0) return true;
  if (given < asked || given - asked > kMoreAllocatedMax || given > kBufferBytesMax) return false;
  buffers_[name] = {.device = small_number_at(head, 0), .bytes = given};
  return true;
}

bool WorkerAnswers::can_begin_at(uint64_t base, const Buffer& buffer) const {
  const auto alignment = alignments_.find(buffer.device);
  const bool aligned = alignment == alignments_.end() || base % alignment->second == 0;
  return aligned && base != 0 && base <= UINT64_MAX - kBehindBufferMin - buffer.bytes;
}

void WorkerAnswers::forget_buffers() { buffers_.clear(); }

ShortAnswer stand_in_answer(uint8_t command) {
  ShortAnswer answer{};
  switch (command) {
    case kAlignment:
      put(answer, 0, kStandInAlignment);
      break;
    case kLargest:
      put(answer, 0, UINT64_MAX);
      break;
    case kBase:
      put(answer, 0, kStandInBase);
      break;
    case kMemory:
      put(answer, 0, kStandInMemory);
      put(answer, 8, kStandInMemory);
      break;
    case kSetByHash:
      answer[0] = std::byte{1};
      break;
    case kHello:
      answer[0] = std::byte{kWorkerProtocolMajor};
      answer[1] = std::byte{kWorkerProtocolMinor};
      break;
    default:
      break;
  }
  return answer;
}

ProtocolVersion version_of_hello(std::span<const std::byte> answer) {
  return {.major = std::to_integer<uint8_t>(answer[0]), .minor = std::to_integer<uint8_t>(answer[1])};
}

}  // namespace spillway
