// SPDX-License-Identifier: MIT
#include "engine/stand_ins.h"

namespace spillway {
namespace {

constexpr size_t kKeptBytesMax = 1 << 20;

}  // namespace

ggml_tensor& StandIns::copy_of(const ggml_tensor& tensor) {
  if (n_copies_ == copies_.size()) copies_.emplace_back();
  ggml_tensor& copy = copies_[n_copies_++];
  copy = tensor;
  return copy;
}

std::vector<int32_t>& StandIns::ids(size_t n) {
  if (n_ids_ == ids_.size()) ids_.emplace_back();
  std::vector<int32_t>& ids = ids_[n_ids_++];
  ids.resize(n);
  return ids;
}

std::byte* StandIns::bytes(size_t n) {
  if (n_bytes_ == bytes_.size()) bytes_.emplace_back();
  std::vector<std::byte>& bytes = bytes_[n_bytes_++];
  if (bytes.size() < n) bytes.resize(n);
  return bytes.data();
}

void StandIns::put(ggml_tensor* node, int source, ggml_tensor* stand_in) {
  changed_.push_back({node, source, node->src[source], stand_in});
  node->src[source] = stand_in;
}

void StandIns::put_back() {
  for (const Changed& changed : changed_)
    if (changed.node->src[changed.source] == changed.stand_in) changed.node->src[changed.source] = changed.own;
  changed_.clear();
  for (size_t i = 0; i < n_bytes_; ++i)
    if (bytes_[i].size() > kKeptBytesMax) bytes_[i] = {};  // a long prompt's
  n_copies_ = n_ids_ = n_bytes_ = 0;
}

}  // namespace spillway
