// SPDX-License-Identifier: MIT
#include "make_model/composer.h"

#include <vector>

namespace spillway::make_model {

Composer::Composer(const ModelSpec& spec, std::span<const TensorPlan> tensors)
    : spec_(spec), pools_(tensors, spec.seed) {
  if (spec.is_moe() && spec.routing == Routing::kZipf) routing_.emplace(spec);
  for (const TensorPlan& tensor : tensors) {
    if (tensor.fill == Fill::kEmbedding) embeddings_.emplace(spec, *routing_, tensor.type);
  }
}

void Composer::compose(const TensorPlan& tensor, int64_t first_row, std::span<std::byte> destination) const {
  const uint64_t row_bytes = tensor.row_bytes();
  const uint64_t tensor_seed = stream_seed(spec_.seed, tensor.name);
  const BlockPool* pool = tensor.fill == Fill::kPooled ? &pools_.pool_for(tensor) : nullptr;
  std::vector<float> numbers(static_cast<size_t>(tensor.row_length()));
  for (int64_t row = first_row; !destination.empty(); ++row, destination = destination.subspan(row_bytes)) {
    Random random(stream_seed(tensor_seed, static_cast<uint64_t>(row)));
    if (pool && row >= tensor.quiet_rows) {
      pool->compose_row(random, destination.first(row_bytes));
    } else if (tensor.fill == Fill::kEmbedding) {
      embeddings_->compose_row(row, random, destination.first(row_bytes));
    } else {
      draw_numbers(tensor, row, random, numbers);
      ggml_quantize_chunk(tensor.type, numbers.data(), destination.data(), 0, 1, tensor.row_length(), nullptr);
    }
  }
}

void Composer::draw_numbers(const TensorPlan& tensor, int64_t row, Random& random, std::span<float> numbers) const {
  switch (tensor.fill) {
    case Fill::kEmbedding:  // copied, like all but the quiet rows of the pooled
    case Fill::kPooled:
      for (float& number : numbers) number = tensor.quiet_sigma * random.gaussian();
      return;
    case Fill::kGaussian:
      for (float& number : numbers) number = tensor.mean + tensor.sigma * random.gaussian();
      return;
    case Fill::kSigns:
      for (float& number : numbers) number = random.next() & 1 ? tensor.mean : -tensor.mean;
      return;
    case Fill::kRouter:
      return routing_->make_router(tensor.layer, row, random, numbers);
  }
}

}  // namespace spillway::make_model
