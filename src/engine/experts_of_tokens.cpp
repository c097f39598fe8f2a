// SPDX-License-Identifier: MIT
#include "engine/experts_of_tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <vector>

#include "model/ggml_log.h"

namespace spillway {
namespace {

constexpr const char* kTable = ".ffn_gate_tid2eid.";

Result<void> check_table(const GgufModel& model, const TensorInfo& table) {
  constexpr size_t kPieceNumbers = 1 << 18;
  const File& file = *model.files[table.file];
  std::vector<int32_t> piece(kPieceNumbers);  // little-endian, as GGUF is
  const uint64_t piece_bytes = piece.size() * sizeof piece[0];
  for (uint64_t done = 0; done < table.range.bytes; done += piece_bytes) {
    const auto part = std::as_writable_bytes(std::span(piece)).first(std::min(piece_bytes, table.range.bytes - done));
    ASSIGN_OR_RETURN(const uint64_t got, file.read_at(table.range.offset + done, part));
    for (const int32_t expert : std::span(piece).first(got / sizeof piece[0]))
      if (expert < 0 || static_cast<uint64_t>(expert) >= model.n_expert)
        return error(Code::kCorrupt,
                     fmt::format("{}: '{}' names expert {}, and {} are there: the file is damaged, download it again",
                                 file.path(), one_line(table.name), expert, model.n_expert));
  }
  return {};
}

}  // namespace

Result<void> check_experts_of_tokens(const GgufModel& model) {
  for (const TensorInfo& tensor : model.tensors)
    if (tensor.type == "i32" && tensor.name.find(kTable) != std::string::npos)
      RETURN_IF_ERROR(check_table(model, tensor));
  return {};
}

}  // namespace spillway
