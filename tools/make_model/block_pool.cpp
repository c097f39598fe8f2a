// SPDX-License-Identifier: MIT
#include "make_model/block_pool.h"

#include <algorithm>
#include <cstring>
#include <thread>

namespace spillway::make_model {
namespace {

constexpr uint64_t kPoolBytesMax = 8 << 20;
constexpr uint64_t kPoolBytesMin = 128 << 10;
constexpr uint64_t kCopiesWanted = 4;       // of each block, at least: a smaller model is not worth quantising more for
constexpr int64_t kChunkNumbers = 1 << 14;  // quantised at a time; a multiple of every block size

// With four runs from pools of 10^5 places and more, two equal rows are not to be expected in a terabyte.
constexpr int64_t kRunsPerRow = 4;

uint64_t pool_bytes(ggml_type type, uint64_t demand_bytes) {
  const uint64_t chunk_bytes = ggml_row_size(type, kChunkNumbers);
  const uint64_t wanted = std::clamp(demand_bytes / kCopiesWanted, kPoolBytesMin, kPoolBytesMax);
  return (wanted + chunk_bytes - 1) / chunk_bytes * chunk_bytes;
}

}  // namespace

BlockPool::BlockPool(ggml_type type, float sigma, uint64_t bytes, uint64_t seed)
    : type_(type), block_bytes_(ggml_type_size(type)), blocks_(bytes) {
  const uint64_t chunk_bytes = ggml_row_size(type, kChunkNumbers);
  const int64_t chunks = static_cast<int64_t>(bytes / chunk_bytes);
  ggml_quantize_init(type);  // before the threads: it builds shared tables
  const auto make_chunks = [&](int64_t first) {
    std::vector<float> numbers(kChunkNumbers);
    for (int64_t chunk = first; chunk < chunks; chunk += 2) {
      Random random(stream_seed(seed, static_cast<uint64_t>(chunk)));
      for (float& number : numbers) number = sigma * random.gaussian();
      ggml_quantize_chunk(type, numbers.data(), blocks_.data() + static_cast<uint64_t>(chunk) * chunk_bytes, 0, 1,
                          kChunkNumbers, nullptr);
    }
  };
  std::thread odd_chunks(make_chunks, 1);
  make_chunks(0);
  odd_chunks.join();
}

void BlockPool::compose_row(Random& random, std::span<std::byte> row) const {
  const uint64_t row_blocks = row.size() / block_bytes_;
  const uint64_t run_blocks = std::max<uint64_t>(1, (row_blocks + kRunsPerRow - 1) / kRunsPerRow);
  const uint64_t pool_blocks = blocks_.size() / block_bytes_;
  for (uint64_t done = 0; done < row_blocks;) {
    // A row can be longer than a small pool: then more, shorter runs.
    const uint64_t run = std::min({run_blocks, row_blocks - done, pool_blocks / 2 + 1});
    const uint64_t start = random.below(pool_blocks - run + 1);
    std::memcpy(row.data() + done * block_bytes_, blocks_.data() + start * block_bytes_, run * block_bytes_);
    done += run;
  }
}

BlockPools::BlockPools(std::span<const TensorPlan> tensors, uint64_t seed) {
  std::map<std::pair<ggml_type, float>, uint64_t> demand_bytes;
  for (const TensorPlan& tensor : tensors) {
    if (tensor.fill == Fill::kPooled) demand_bytes[{tensor.type, tensor.sigma}] += tensor.bytes();
  }
  uint64_t index = 0;
  for (const auto& [key, demand] : demand_bytes) {
    const uint64_t bytes = pool_bytes(key.first, demand);
    pools_.try_emplace(key, key.first, key.second, bytes, stream_seed(stream_seed(seed, "pool"), index++));
    bytes_ += bytes;
  }
}

}  // namespace spillway::make_model
