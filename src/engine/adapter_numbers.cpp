// SPDX-License-Identifier: MIT
#include "engine/adapter_numbers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "model/ggml_log.h"
#include "model/gguf_model.h"

namespace spillway {
namespace {

// Floats lie `stride` bytes apart; one whose exponent is all ones is no number, or has no end.
struct Floats {
  size_t bytes = 0, stride = 0;
  uint32_t exponent = 0;
};

// Of the types that adapters are made in; of others what is computed has to show it.
std::optional<Floats> floats_of(std::string_view type) {
  constexpr uint32_t kOfHalf = 0x7C00;
  constexpr size_t kBlockBytes = 34;  // of q8_0: a scale and 32 whole numbers
  if (type == "f32") return Floats{.bytes = 4, .stride = 4, .exponent = 0x7F800000};
  if (type == "f16") return Floats{.bytes = 2, .stride = 2, .exponent = kOfHalf};
  if (type == "bf16") return Floats{.bytes = 2, .stride = 2, .exponent = 0x7F80};
  if (type == "q8_0") return Floats{.bytes = 2, .stride = kBlockBytes, .exponent = kOfHalf};
  return std::nullopt;
}

bool are_all_finite(std::span<const std::byte> data, const Floats& floats) {
  bool all = true;
  for (size_t at = 0; at + floats.bytes <= data.size(); at += floats.stride) {
    uint32_t value = 0;  // little-endian, as GGUF is
    std::memcpy(&value, data.data() + at, floats.bytes);
    all &= (value & floats.exponent) != floats.exponent;
  }
  return all;
}

}  // namespace

Result<void> check_adapter_numbers(const std::string& path) {
  constexpr size_t kPieceBytes = 34u << 15;  // a multiple of all strides
  ASSIGN_OR_RETURN(const GgufModel adapter, open_gguf_model(path, {.direct = false}));
  std::vector<std::byte> piece(kPieceBytes);
  for (const TensorInfo& tensor : adapter.tensors) {
    const auto floats = floats_of(tensor.type);
    for (uint64_t done = 0; floats && done < tensor.range.bytes; done += piece.size()) {
      const std::span<std::byte> part(piece.data(), std::min<uint64_t>(piece.size(), tensor.range.bytes - done));
      ASSIGN_OR_RETURN(const uint64_t got, adapter.files[tensor.file]->read_at(tensor.range.offset + done, part));
      if (!are_all_finite(part.first(got), *floats))
        return error(Code::kCorrupt, fmt::format("{}: '{}' holds values that are no numbers: the adapter is damaged",
                                                 path, one_line(tensor.name)));
    }
  }
  return {};
}

}  // namespace spillway
