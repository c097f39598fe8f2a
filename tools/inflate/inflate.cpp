// SPDX-License-Identifier: MIT
#include "inflate/inflate.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <span>
#include <system_error>
#include <vector>

#include "inflate/big_tensors.h"
#include "inflate/composer.h"
#include "make_model/output_file.h"

namespace spillway::inflate {
namespace {

constexpr uint64_t kSlabBytes = 1 << 20;  // composed at a time: stays in the cache until it is copied out

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

Expected<void> check_room(const std::string& path, uint64_t bytes) {
  std::error_code failed;
  const std::filesystem::path folder = std::filesystem::absolute(path).parent_path();
  const std::filesystem::space_info space = std::filesystem::space(folder, failed);
  if (failed) return failure(fmt::format("{}: {}", folder.string(), failed.message()));
  if (space.available >= bytes) return {};
  return failure(fmt::format("{}: the disk has {:.2f} GB left, the model needs {:.2f} GB", path,
                             static_cast<double>(space.available) / 1e9, static_cast<double>(bytes) / 1e9));
}

class Writer {
 public:
  Writer(make_model::OutputFile& file, const Output& output, uint64_t total_bytes)
      : file_(file), output_(output), total_bytes_(total_bytes) {}

  Expected<void> append(std::span<const std::byte> bytes) {
    if (output_.is_cancelled && output_.is_cancelled()) return failure("interrupted");
    if (auto appended = file_.append(bytes); !appended) return appended;
    done_bytes_ += bytes.size();
    if (output_.on_progress) output_.on_progress(done_bytes_, total_bytes_);
    return {};
  }

  Expected<void> append(const BigTensor& tensor, Composer& composer) {
    const uint64_t row_bytes = tensor.row_bytes();
    const auto slab_rows = static_cast<int64_t>(std::max<uint64_t>(1, kSlabBytes / row_bytes));
    const int64_t rows = tensor.rows * tensor.experts;
    for (int64_t first = 0; first < rows; first += slab_rows) {
      const int64_t count = std::min(slab_rows, rows - first);
      slab_.resize(static_cast<size_t>(count) * row_bytes);
      for (int64_t i = 0; i < count; ++i)
        composer.compose(tensor, first + i, std::span(slab_).subspan(static_cast<size_t>(i) * row_bytes, row_bytes));
      if (auto appended = append(slab_); !appended) return appended;
    }
    const std::vector<std::byte> padding(padded(tensor.bytes()) - tensor.bytes());
    return append(padding);
  }

 private:
  make_model::OutputFile& file_;
  const Output& output_;
  const uint64_t total_bytes_;
  uint64_t done_bytes_ = 0;
  std::vector<std::byte> slab_;
};

std::string model_name(const SmallModel& small, uint64_t bytes) {
  const int64_t id = gguf_find_key(small.metadata.get(), "general.name");
  const std::string name = id >= 0 && gguf_get_kv_type(small.metadata.get(), id) == GGUF_TYPE_STRING
                               ? gguf_get_val_str(small.metadata.get(), id)
                               : "model";
  return fmt::format("{}, inflated to {:.2f} GB", name.substr(0, 64), static_cast<double>(bytes) / 1e9);
}

}  // namespace

Written describe(const SmallModel& small, const Growth& growth) {
  const std::vector<BigTensor> tensors = plan_tensors(small, growth);
  Written written;
  written.bytes = make_header(small, growth, tensors, model_name(small, 0)).size();
  for (const BigTensor& tensor : tensors) {
    ++written.tensors;
    written.parameters += tensor.columns * tensor.rows * tensor.experts;
    written.bytes += padded(tensor.bytes());
    if (tensor.dimensions == 3) written.expert_bytes += tensor.bytes();
  }
  return written;
}

Expected<Written> write_inflated(const SmallModel& small, const Growth& growth, uint64_t seed, const Output& output) {
  const double start_s = now_s();
  Written written = describe(small, growth);
  const std::vector<BigTensor> tensors = plan_tensors(small, growth);
  const std::vector<std::byte> header = make_header(small, growth, tensors, model_name(small, written.bytes));
  written.bytes = header.size();
  for (const BigTensor& tensor : tensors) written.bytes += padded(tensor.bytes());
  if (auto room = check_room(output.path, written.bytes); !room) return failure(room.error());
  Composer composer(small, growth, tensors, seed);

  auto file = make_model::OutputFile::create(output.path, written.bytes);
  if (!file) return failure(file.error());
  Writer writer(**file, output, written.bytes);
  if (auto appended = writer.append(header); !appended) return failure(appended.error());
  for (const BigTensor& tensor : tensors)
    if (auto appended = writer.append(tensor, composer); !appended) return failure(appended.error());
  if (auto finished = (*file)->finish(); !finished) return failure(finished.error());
  if (auto committed = (*file)->commit(); !committed) return failure(committed.error());
  written.write_s = now_s() - start_s;
  return written;
}

}  // namespace spillway::inflate
