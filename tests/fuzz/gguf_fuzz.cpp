// SPDX-License-Identifier: MIT
// Any bytes as a GGUF file: refused in one line, or a model whose tensors all lie inside the file.
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <string>

#include "../model/gguf_bytes.h"
#include "base/check.h"
#include "model/gguf_metadata.h"
#include "model/gguf_model.h"

namespace spillway {
namespace {

// One file in memory for all inputs, opened anew by its path each time.
class MemoryFile {
 public:
  MemoryFile() : fd_(::memfd_create("gguf", MFD_CLOEXEC)), path_("/proc/self/fd/" + std::to_string(fd_)) {
    CHECK(fd_ >= 0);
  }
  const std::string& path() const { return path_; }
  void hold(const uint8_t* data, size_t bytes) const {
    CHECK(::ftruncate(fd_, 0) == 0);
    CHECK(::pwrite(fd_, data, bytes, 0) == static_cast<ssize_t>(bytes));
  }

 private:
  const int fd_;
  const std::string path_;
};

// As small_moe(), without the weight: inputs stay below libFuzzer's 4096 bytes.
std::string seed_model() {
  GgufBytes model;
  model.key("general.architecture", "llama")
      .key("general.name", "Seed")
      .key_u32("general.alignment", 32)
      .key_u32("llama.block_count", 1)
      .key_u16("llama.expert_used_count", 2)
      .key_u32s("llama.expert_count", {2, 4})
      .key_u16("split.count", 1)
      .key_strings("tokenizer.ggml.tokens", {"a", "b"})
      .tensor({"token_embd.weight", {32, 2}, 8})
      .tensor({"blk.0.ffn_up_exps.weight", {32, 1, 4}, 8})
      .tensor({"blk.0.ffn_gate_exps.weight", {1, 1, 2}})
      .tensor({"output.weight", {8}});
  return model.bytes();
}

void check_refusal(const Status& status, const std::string& path) {
  CHECK(status.message().starts_with(path + ": "));
  CHECK(status.message().find('\n') == std::string::npos);
}

void check_model(const GgufModel& model, uint64_t file_bytes) {
  CHECK(!model.tensors.empty());
  for (const TensorInfo& tensor : model.tensors) {
    CHECK(tensor.range.offset <= file_bytes && tensor.range.bytes <= file_bytes - tensor.range.offset);
    CHECK(tensor.slices > 0 && tensor.slice_bytes() * tensor.slices == tensor.range.bytes);
  }
}

}  // namespace
}  // namespace spillway

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  using namespace spillway;
  static const MemoryFile file;
  const auto header = check_gguf_header(file.path(), std::as_bytes(std::span(data, bytes)), bytes);
  if (!header) check_refusal(header.error(), file.path());
  file.hold(data, bytes);
  const auto model = open_gguf_model(file.path(), {.direct = false});
  if (model)
    check_model(*model, bytes);
  else
    check_refusal(model.error(), file.path());
  CHECK(header || !model);

  // The reader of metadata takes whatever ggml takes, and counts the same.
  const auto opened = open_file(file.path(), {.direct = false});
  CHECK(opened || bytes == 0);
  if (!opened) return 0;
  const auto metadata = read_gguf_metadata(**opened, {.array_elements_max = 1000, .tensors = true});
  if (!metadata) check_refusal(metadata.error(), file.path());
  if (model) CHECK(metadata && metadata->n_params == model->n_params);
  if (metadata) CHECK(!metadata->keys.dump().empty());
  return 0;
}

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t bytes, size_t bytes_max);

// Starts from whole models now and then, so that the corpus needs no files: random bytes do not find the format.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t bytes, size_t bytes_max, unsigned seed) {
  using namespace spillway;
  static const std::string whole = seed_model();
  std::minstd_rand random(seed);
  if ((bytes < 64 || random() % 100 == 0) && whole.size() <= bytes_max) {
    std::memcpy(data, whole.data(), whole.size());
    bytes = whole.size();
  }
  return LLVMFuzzerMutate(data, bytes, bytes_max);
}
