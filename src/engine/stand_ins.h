// SPDX-License-Identifier: MIT
// Copies of tensors that a node is given in place of its own sources, and the way back: libllama reuses its graphs.
// Used by the thread that computes.
#pragma once

#include <ggml.h>

#include <cstdint>
#include <deque>
#include <vector>

namespace spillway {

class StandIns {
 public:
  // A copy of `tensor`, valid until put_back().
  ggml_tensor& copy_of(const ggml_tensor& tensor);
  // Room for `n` ids, valid as long.
  std::vector<int32_t>& ids(size_t n);
  // Bytes, valid as long; uninitialized.
  std::byte* bytes(size_t n);

  // `node->src[source]` is `stand_in` from now on.
  void put(ggml_tensor* node, int source, ggml_tensor* stand_in);

  // Every node has its own sources again. One whose source is no longer what was put there belongs to another graph by
  // now, which was built in its place: it is left alone.
  void put_back();
  size_t n_put() const { return changed_.size(); }

 private:
  struct Changed {
    ggml_tensor* node;
    int source;
    ggml_tensor* own;
    ggml_tensor* stand_in;
  };
  std::vector<Changed> changed_;
  // Used again and again, so that nothing is allocated once a pass was seen; addresses stay.
  std::deque<ggml_tensor> copies_;
  std::deque<std::vector<int32_t>> ids_;
  std::deque<std::vector<std::byte>> bytes_;
  size_t n_copies_ = 0, n_ids_ = 0, n_bytes_ = 0;
};

}  // namespace spillway
