// SPDX-License-Identifier: MIT
// The forms into which ggml's extra buffer types put weights (CPU_REPACK; AMX for matrices where the processor has it):
// llama.cpp's default kernels multiply by those. Which weights have one is asked as libllama asks, so that the results
// are those of libllama with its default flags, bit for bit.
//
// Constant after find(), any thread. Outlives what was given its buffers.
#pragma once

#include <ggml-backend.h>

#include <optional>
#include <vector>

#include "backend/ggml_handles.h"
#include "base/bytes.h"
#include "engine/pass_order.h"
#include "layout/slot_shape.h"
#include "model/gguf_model.h"

namespace spillway {

class RepackedForms {
 public:
  RepackedForms() = default;  // all plain

  // `order`: of a graph that was seen whole. A weight has another form where MUL_MAT or MUL_MAT_ID multiplies by it,
  // and nothing else uses it but GET_ROWS (an embedding that is the output matrix too): rows are read from the file.
  static RepackedForms find(const GgufModel& model, const PassOrder& order);

  bool is_repacked(uint32_t tensor) const { return tensor < forms_.size() && forms_[tensor].has_value(); }
  // Rows of it are used as well, so that an operation has to be given what it can read.
  bool has_rows(uint32_t tensor) const { return is_repacked(tensor) && forms_[tensor]->has_rows; }
  // Whether an operation that has the weight as its source number `source` multiplies by it.
  static bool multiplies(const ggml_tensor* node, int source) {
    return source == 0 && (node->op == GGML_OP_MUL_MAT || node->op == GGML_OP_MUL_MAT_ID);
  }

  WeightShape shape(uint32_t tensor) const;
  // As store/fills.h's Place.
  void place(uint32_t tensor, ByteRange part, const std::byte* from, std::byte* to) const;
  // Tells the operation that is given `weight` in which form its data are.
  void mark(ggml_tensor& weight, uint32_t tensor) const;

 private:
  struct RepackedForm {
    ggml_tensor slice{};           // of one slice's shape, with the buffer and what that put into `extra`
    uint64_t slot_bytes = 0;       // of one slice
    uint64_t part_unit_bytes = 0;  // as in WeightShape: of a group of rows in the file
    uint64_t group_bytes = 0;      // of a group's form
    bool has_rows = false;
  };
  ggml_backend_buffer_t buffer_for(ggml_backend_buffer_type_t type);

  std::vector<std::optional<RepackedForm>> forms_;  // [n_tensor]
  std::vector<BufferPtr> buffers_;                  // one of each type, of next to no memory
};

}  // namespace spillway
