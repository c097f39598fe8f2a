// SPDX-License-Identifier: MIT
// Token embeddings with cluster structure (routing.h), ready-made in pieces: quantising 32000 rows one by one took
// longer than writing the rest of a 3 GB model. A row is cut into segments; of each segment every cluster has some
// variants, which differ in the token's own share. A token's row is one variant of each segment, and no two tokens have
// the same row.
#pragma once

#include <ggml.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "make_model/model_spec.h"
#include "make_model/random.h"
#include "make_model/routing.h"

namespace spillway::make_model {

// Read-only once made.
class EmbeddingTable {
 public:
  EmbeddingTable(const ModelSpec& spec, const RoutingDesign& routing, ggml_type type);

  void compose_row(int64_t token, Random& random, std::span<std::byte> row) const;

 private:
  // [cluster][variant][embd], quantised
  std::span<const std::byte> variant_row(int64_t cluster, int64_t variant) const;

  const int64_t variants_;
  const int64_t digits_;  // of a token's number in its cluster, in base variants_
  const uint64_t row_bytes_;
  const uint64_t segment_bytes_;
  std::vector<std::byte> rows_;
};

}  // namespace spillway::make_model
