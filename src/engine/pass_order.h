// SPDX-License-Identifier: MIT
// What one pass does with the weights, in order: learned from a graph, since architectures differ and their names say
// little. Not thread-safe.
#pragma once

#include <ggml.h>

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "engine/weight_index.h"

namespace spillway {

// Node `src[source]` of an operation is a weight, or shows a part of one.
struct WeightUse {
  uint32_t tensor = 0;
  const ggml_tensor* weight = nullptr;  // the tensor itself
  ggml_op op = GGML_OP_NONE;
  int source = 0;
  bool in_part = false;  // through a view
};

// MUL_MAT_ID multiplies by those of a tensor's slices that the ids name; which, is the value of another node.
struct IdsProducer {
  std::string name;             // of that node
  std::vector<uint32_t> users;  // the tensors, in order of use
};

class PassOrder {
 public:
  // A node that is about to be computed.
  void note(const ggml_tensor* node, const WeightIndex& index);

  const std::vector<WeightUse>& uses() const { return uses_; }  // each kind of use of a weight once
  const std::vector<IdsProducer>& producers() const { return producers_; }
  // Index into producers(), or producers().size().
  size_t find_producer(std::string_view name) const;

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  std::vector<WeightUse> uses_;
  std::vector<IdsProducer> producers_;
  std::unordered_map<std::string, size_t, Hash, std::equal_to<>> producer_by_name_;
  std::set<std::tuple<const ggml_tensor*, int, int>> seen_;  // weight, operation, source
};

}  // namespace spillway
