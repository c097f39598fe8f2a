// SPDX-License-Identifier: MIT
#include "make_model/generator.h"

#include <fmt/format.h>
#include <ggml.h>
#include <gguf.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <span>

#include "make_model/composer.h"
#include "make_model/metadata.h"
#include "make_model/output_file.h"
#include "make_model/tensor_plan.h"
#include "make_model/type_mix.h"

namespace spillway::make_model {
namespace {

constexpr uint64_t kSlabBytes = 1 << 20;  // composed at a time: stays in the cache until it is copied out

struct FreeGguf {
  void operator()(gguf_context* gguf) const { gguf_free(gguf); }
};
struct FreeGgml {
  void operator()(ggml_context* ggml) const { ggml_free(ggml); }
};
using Gguf = std::unique_ptr<gguf_context, FreeGguf>;

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

uint64_t padded(uint64_t bytes) {
  return (bytes + GGUF_DEFAULT_ALIGNMENT - 1) / GGUF_DEFAULT_ALIGNMENT * GGUF_DEFAULT_ALIGNMENT;
}

// One file of the model: its tensors and its header.
struct Shard {
  std::string path;
  std::span<const TensorPlan> tensors;
  std::vector<std::byte> header;
  uint64_t bytes = 0;
};

std::string shard_path(const std::string& path, int index, int count) {
  if (count == 1) return path;
  constexpr std::string_view kSuffix = ".gguf";
  const std::string prefix = path.ends_with(kSuffix) ? path.substr(0, path.size() - kSuffix.size()) : path;
  return fmt::format("{}-{:05}-of-{:05}.gguf", prefix, index + 1, count);
}

// Neighbouring tensors together, sizes as even as whole tensors allow, none empty.
std::vector<std::span<const TensorPlan>> split_evenly(std::span<const TensorPlan> tensors, int count) {
  uint64_t left_bytes = 0;
  for (const TensorPlan& tensor : tensors) left_bytes += tensor.bytes();
  std::vector<std::span<const TensorPlan>> parts;
  for (int left = count; left > 0; --left) {
    const uint64_t share = left_bytes / static_cast<uint64_t>(left);
    size_t taken = 0;
    uint64_t taken_bytes = 0;
    while (taken < tensors.size() && (left == 1 || tensors.size() - taken >= static_cast<size_t>(left)) &&
           (taken == 0 || taken_bytes + tensors[taken].bytes() / 2 <= share || left == 1)) {
      taken_bytes += tensors[taken++].bytes();
    }
    parts.push_back(tensors.first(taken));
    tensors = tensors.subspan(taken);
    left_bytes -= taken_bytes;
  }
  return parts;
}

std::vector<std::byte> make_header(gguf_context* gguf, std::span<const TensorPlan> tensors) {
  const std::unique_ptr<ggml_context, FreeGgml> ggml(
      ggml_init({ggml_tensor_overhead() * (tensors.size() + 1), nullptr, /*no_alloc=*/true}));
  for (const TensorPlan& plan : tensors) {
    ggml_tensor* tensor =
        ggml_new_tensor(ggml.get(), plan.type, static_cast<int>(plan.shape.size()), plan.shape.data());
    ggml_set_name(tensor, plan.name.c_str());
    gguf_add_tensor(gguf, tensor);
  }
  std::vector<std::byte> header(gguf_get_meta_size(gguf));
  gguf_get_meta_data(gguf, header.data());
  return header;
}

std::vector<Shard> plan_shards(const ModelSpec& spec, const TypeMix& mix, std::span<const TensorPlan> tensors,
                               const OutputOptions& options) {
  std::vector<Shard> shards;
  const auto parts = split_evenly(tensors, options.shards);
  for (int i = 0; i < options.shards; ++i) {
    const Gguf gguf(gguf_init_empty());
    if (i == 0) set_metadata(gguf.get(), spec, mix);
    if (options.shards > 1) {
      gguf_set_val_u16(gguf.get(), "split.no", static_cast<uint16_t>(i));
      gguf_set_val_u16(gguf.get(), "split.count", static_cast<uint16_t>(options.shards));
      gguf_set_val_i32(gguf.get(), "split.tensors.count", static_cast<int32_t>(tensors.size()));
    }
    Shard shard{shard_path(options.path, i, options.shards), parts[static_cast<size_t>(i)], {}, 0};
    shard.header = make_header(gguf.get(), shard.tensors);
    shard.bytes = shard.header.size();
    for (const TensorPlan& tensor : shard.tensors) shard.bytes += padded(tensor.bytes());
    shards.push_back(std::move(shard));
  }
  return shards;
}

class Progress {
 public:
  Progress(const OutputOptions& options, uint64_t total_bytes) : options_(options), total_bytes_(total_bytes) {}
  void add(uint64_t bytes) {
    done_bytes_ += bytes;
    if (options_.on_progress) options_.on_progress(done_bytes_, total_bytes_);
  }

 private:
  const OutputOptions& options_;
  const uint64_t total_bytes_;
  uint64_t done_bytes_ = 0;
};

Expected<void> write_tensor(OutputFile& file, const Composer& composer, const TensorPlan& tensor,
                            std::vector<std::byte>& slab, Progress& progress) {
  const uint64_t row_bytes = tensor.row_bytes();
  const int64_t slab_rows = static_cast<int64_t>(std::max<uint64_t>(1, kSlabBytes / row_bytes));
  for (int64_t row = 0; row < tensor.rows(); row += slab_rows) {
    const uint64_t bytes = static_cast<uint64_t>(std::min(slab_rows, tensor.rows() - row)) * row_bytes;
    slab.resize(std::max(slab.size(), bytes));
    composer.compose(tensor, row, std::span(slab).first(bytes));
    if (auto appended = file.append(std::span(slab).first(bytes)); !appended) return appended;
    progress.add(bytes);
  }
  const std::vector<std::byte> padding(padded(tensor.bytes()) - tensor.bytes());
  return file.append(padding);
}

// Gives all files their names, or none.
Expected<void> commit_all(std::span<const std::unique_ptr<OutputFile>> files) {
  for (size_t i = 0; i < files.size(); ++i) {
    auto committed = files[i]->commit();
    if (committed) continue;
    for (size_t earlier = 0; earlier < i; ++earlier) files[earlier]->withdraw();
    return committed;
  }
  return {};
}

Summary summarize(std::span<const TensorPlan> tensors, std::span<const Shard> shards) {
  Summary summary;
  for (const Shard& shard : shards) {
    summary.files.push_back(shard.path);
    summary.bytes += shard.bytes;
  }
  for (const TensorPlan& tensor : tensors) {
    ++summary.tensors;
    summary.parameters += tensor.rows() * tensor.row_length();
    summary.tensor_bytes += tensor.bytes();
    if (tensor.shape.size() == 3) summary.expert_bytes += tensor.bytes();
  }
  return summary;
}

// What both entry points need: checked input, planned tensors and files.
struct Plan {
  TypeMix mix;
  std::vector<TensorPlan> tensors;
  std::vector<Shard> shards;
};

Expected<Plan> plan_model(const ModelSpec& spec, const OutputOptions& options) {
  if (auto valid = validate(spec); !valid) return failure(valid.error());
  auto mix = TypeMix::parse(spec.type, spec.type_down);
  if (!mix) return failure(mix.error());
  std::vector<TensorPlan> tensors = plan_tensors(spec, *mix);
  const int shards_max = static_cast<int>(std::min<size_t>(tensors.size(), 65535));
  if (options.shards < 1 || options.shards > shards_max) {
    return failure(fmt::format("--shards {}: must be 1 to {}, a tensor in each", options.shards, shards_max));
  }
  Plan plan{*mix, std::move(tensors), {}};
  plan.shards = plan_shards(spec, plan.mix, plan.tensors, options);
  return plan;
}

}  // namespace

Expected<Summary> describe_model(const ModelSpec& spec, const OutputOptions& options) {
  auto plan = plan_model(spec, options);
  if (!plan) return failure(plan.error());
  return summarize(plan->tensors, plan->shards);
}

Expected<Summary> make_model(const ModelSpec& spec, const OutputOptions& options) {
  const double start_s = now_s();
  auto plan = plan_model(spec, options);
  if (!plan) return failure(plan.error());
  Summary summary = summarize(plan->tensors, plan->shards);
  std::optional<Composer> composer;
  if (!options.sparse) composer.emplace(spec, plan->tensors);
  const double prepared_s = now_s();

  Progress progress(options, summary.bytes);
  std::vector<std::byte> slab;
  std::vector<std::unique_ptr<OutputFile>> files;  // uncommitted ones clean up after themselves
  for (const Shard& shard : plan->shards) {
    auto file = OutputFile::create(shard.path, options.sparse ? 0 : shard.bytes);
    if (!file) return failure(file.error());
    if (auto written = (*file)->append(shard.header); !written) return failure(written.error());
    progress.add(shard.header.size());
    if (options.sparse) {
      if (auto skipped = (*file)->skip(shard.bytes - shard.header.size()); !skipped) return failure(skipped.error());
    }
    for (const TensorPlan& tensor : shard.tensors) {
      if (!composer) break;
      if (auto written = write_tensor(**file, *composer, tensor, slab, progress); !written)
        return failure(written.error());
    }
    if (auto finished = (*file)->finish(); !finished) return failure(finished.error());
    files.push_back(std::move(*file));
  }
  if (auto committed = commit_all(files); !committed) return failure(committed.error());
  summary.prepare_s = prepared_s - start_s;
  summary.write_s = now_s() - prepared_s;
  return summary;
}

}  // namespace spillway::make_model
