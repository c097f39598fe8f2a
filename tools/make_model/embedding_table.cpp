// SPDX-License-Identifier: MIT
#include "make_model/embedding_table.h"

#include <algorithm>
#include <cstring>
#include <thread>

namespace spillway::make_model {
namespace {

constexpr int64_t kSegmentNumbers = 256;  // a multiple of every block size
constexpr int64_t kVariantsMin = 32;
constexpr int64_t kVariantsMax = 2048;  // bounds the memory; beyond it (embd 256, vocab 131072) some rows come twice

// Enough that each token of a cluster has a combination of its own, and not more than it has tokens.
int64_t tokens_of_a_cluster(const ModelSpec& spec) {
  return (spec.vocab + RoutingDesign::kClusters - 1) / RoutingDesign::kClusters;
}

// The number of digits that counts to `limit` in base `base`.
int64_t digits_for(int64_t limit, int64_t base) {
  int64_t digits = 1;
  for (int64_t product = base; product < limit; product *= base) ++digits;
  return digits;
}

// Enough that each token of a cluster has a combination of its own, and not more than it has tokens.
int64_t choose_variants(const ModelSpec& spec) {
  const int64_t tokens = tokens_of_a_cluster(spec);
  const int64_t segments = (spec.embd + kSegmentNumbers - 1) / kSegmentNumbers;
  int64_t variants = kVariantsMin;
  while (digits_for(tokens, variants) > segments) ++variants;
  return std::min({variants, tokens, kVariantsMax});
}

}  // namespace

EmbeddingTable::EmbeddingTable(const ModelSpec& spec, const RoutingDesign& routing, ggml_type type)
    : variants_(choose_variants(spec)),
      digits_(digits_for(tokens_of_a_cluster(spec), variants_)),
      row_bytes_(ggml_row_size(type, spec.embd)),
      segment_bytes_(spec.embd < kSegmentNumbers ? row_bytes_ : ggml_row_size(type, kSegmentNumbers)),
      rows_(static_cast<uint64_t>(RoutingDesign::kClusters * variants_) * row_bytes_) {
  const uint64_t seed = stream_seed(spec.seed, "embedding variants");
  ggml_quantize_init(type);  // before the threads: it builds shared tables
  const auto make_rows = [&](int64_t first) {
    std::vector<float> numbers(static_cast<size_t>(spec.embd));
    for (int64_t row = first; row < RoutingDesign::kClusters * variants_; row += 2) {
      Random random(stream_seed(seed, static_cast<uint64_t>(row)));
      routing.make_embedding(row / variants_, random, numbers);
      ggml_quantize_chunk(type, numbers.data(), rows_.data() + static_cast<uint64_t>(row) * row_bytes_, 0, 1, spec.embd,
                          nullptr);
    }
  };
  std::thread odd_rows(make_rows, 1);
  make_rows(0);
  odd_rows.join();
}

void EmbeddingTable::compose_row(int64_t token, Random& random, std::span<std::byte> row) const {
  const int64_t cluster = token % RoutingDesign::kClusters;
  // The token's number in its cluster, digit by digit, chooses the first variants, chance the others.
  int64_t number = token / RoutingDesign::kClusters;
  int64_t digits_left = digits_;
  for (uint64_t done = 0; done < row.size(); done += segment_bytes_) {
    const int64_t variant =
        digits_left-- > 0 ? number % variants_ : static_cast<int64_t>(random.below(static_cast<uint64_t>(variants_)));
    number /= variants_;
    const uint64_t bytes = std::min(segment_bytes_, row.size() - done);
    std::memcpy(row.data() + done, variant_row(cluster, variant).data() + done, bytes);
  }
}

std::span<const std::byte> EmbeddingTable::variant_row(int64_t cluster, int64_t variant) const {
  return std::span(rows_).subspan(static_cast<uint64_t>(cluster * variants_ + variant) * row_bytes_, row_bytes_);
}

}  // namespace spillway::make_model
