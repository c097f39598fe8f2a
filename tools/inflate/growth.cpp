// SPDX-License-Identifier: MIT
#include "inflate/growth.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <initializer_list>

#include "base/bytes.h"
#include "inflate/big_tensors.h"
#include "inflate/exact_encoding.h"
#include "inflate/pieces.h"

namespace spillway::inflate {
namespace {

constexpr int64_t kWidthFactors[] = {1, 4, 16, 64};
constexpr int64_t kLayersMax = 512;
constexpr int64_t kWidthMax = int64_t{1} << 20;

int64_t granules(int64_t units) { return (units + kGranule - 1) / kGranule; }

bool is_power_of_two(int64_t number) { return number > 0 && std::has_single_bit(static_cast<uint64_t>(number)); }

bool holds(const SmallTensor& tensor, ggml_type type, float factor) {
  if (tensor.columns % ggml_blck_size(type) != 0 && !is_units_out(tensor)) return false;
  return encode_pieces(tensor, type, factor).has_value();
}

// The matrices of all layers whose names end so.
std::vector<const SmallTensor*> matrices(const SmallModel& small, std::initializer_list<const char*> endings) {
  std::vector<const SmallTensor*> found;
  for (const auto& [name, tensor] : small.tensors)
    for (const char* ending : endings)
      if (name.ends_with(ending)) found.push_back(&tensor);
  return found;
}

bool hold(const std::vector<const SmallTensor*>& tensors, ggml_type type, float factor) {
  return std::all_of(tensors.begin(), tensors.end(),
                     [&](const SmallTensor* tensor) { return holds(*tensor, type, factor); });
}

// `wanted`, or the type that they have, or the smallest that holds them all. 32-bit floats hold everything that was
// read.
ggml_type type_for(const std::vector<const SmallTensor*>& tensors, ggml_type wanted) {
  for (const ggml_type type : {wanted, tensors.front()->type})
    if (hold(tensors, type, 1)) return type;
  for (const ggml_type type : exact_types())
    if (hold(tensors, type, 1)) return type;
  return GGML_TYPE_F32;
}

// Feed-forward matrices get the type that was asked for, or it is an error; the rest what is nearest to it.
Expected<void> choose_types(const SmallModel& small, Growth& growth, ggml_type wanted) {
  const auto in = matrices(small, {"ffn_gate.weight", "ffn_up.weight", "ffn_gate_exps.weight", "ffn_up_exps.weight"});
  const auto out = matrices(small, {"ffn_down.weight", "ffn_down_exps.weight"});
  const auto factor = static_cast<float>(growth.parts);
  if (!hold(in, wanted, 1) || !hold(out, wanted, factor)) {
    std::vector<std::string> others;
    for (const ggml_type type : exact_types())
      if (hold(in, type, 1) && hold(out, type, factor)) others.emplace_back(ggml_type_name(type));
    return failure(fmt::format("--type {}: cannot hold this model's numbers without rounding; {} can",
                               ggml_type_name(wanted), fmt::join(others, ", ")));
  }
  growth.type = wanted;
  growth.attention_type =
      type_for(matrices(small, {"attn_q.weight", "attn_k.weight", "attn_v.weight", "attn_output.weight"}), wanted);
  growth.table_type = type_for({small.find("token_embd.weight")}, wanted);
  const SmallTensor* output = small.find("output.weight");
  growth.output_type = output ? type_for({output}, wanted) : growth.table_type;
  return {};
}

// What does not depend on the size: which experts, which architecture, which types.
Expected<Growth> fixed_part(const SmallModel& small, const Request& request) {
  Growth growth;
  growth.arch = small.arch;
  const ggml_type wanted =
      request.type.value_or(small.find(0, small.is_dense() ? "ffn_down.weight" : "ffn_down_exps.weight")->type);
  if (small.is_dense()) {
    if (request.experts || request.experts_used)
      return failure("--experts: the small model is dense; only a mixture of experts can have more of them");
    if (auto chosen = choose_types(small, growth, wanted); !chosen) return failure(chosen.error());
    return growth;
  }
  growth.experts_used = request.experts_used.value_or(small.experts_used);
  if (growth.experts_used % small.experts_used != 0 || !is_power_of_two(growth.experts_used / small.experts_used))
    return failure(
        fmt::format("--experts-used {}: must be {} times a power of two", growth.experts_used, small.experts_used));
  growth.parts = growth.experts_used / small.experts_used;
  if (small.ff % growth.parts != 0 || small.ff / growth.parts < 32)
    return failure(fmt::format("--experts-used {}: an expert of {} units cannot be cut into {} parts of at least 32",
                               growth.experts_used, small.ff, growth.parts));
  growth.experts = request.experts.value_or(small.experts * growth.parts);
  if (growth.experts < 1 || growth.experts % (small.experts * growth.parts) != 0)
    return failure(fmt::format("--experts {}: must be a multiple of {}, the small model's {} times {} part(s) of each",
                               growth.experts, small.experts * growth.parts, small.experts, growth.parts));
  growth.copies = growth.experts / (small.experts * growth.parts);
  if (request.is_dense) {
    if (small.arch != "llama")
      return failure(
          fmt::format("--dense: known for llama models and dense ones, not for '{}' with experts", small.arch));
    growth.arch = "bailingmoe";  // as llama's, and with a block beside the experts that every token uses
  }
  if (auto chosen = choose_types(small, growth, wanted); !chosen) return failure(chosen.error());
  return growth;
}

bool has_shared_block(const SmallModel& small, const Growth& growth) { return growth.arch != small.arch; }

Growth least_of(const SmallModel& small, Growth growth) {
  growth.ff = kGranule * granules(small.ff / growth.parts);
  growth.shared_ff = has_shared_block(small, growth) ? growth.ff : 0;
  return growth;
}

// Sizes of files, without making their metadata anew for each.
class Sizes {
 public:
  Sizes(const SmallModel& small, const Growth& growth)
      : small_(small), metadata_bytes_(metadata_bytes(small, growth)) {}
  uint64_t of(const Growth& growth) const { return file_bytes(metadata_bytes_, plan_tensors(small_, growth)); }

 private:
  const SmallModel& small_;
  const uint64_t metadata_bytes_;
};

// With `growth`'s layers and width, the widest feed-forward blocks that the size allows, if there are any.
std::optional<Growth> widest(const SmallModel& small, const Sizes& sizes, uint64_t bytes, const Growth& growth) {
  Growth wide = least_of(small, growth);
  const uint64_t least_bytes = sizes.of(wide);
  if (least_bytes > bytes) return std::nullopt;
  int64_t& width = has_shared_block(small, growth) ? wide.shared_ff : wide.ff;
  const int64_t step = has_shared_block(small, growth) ? wide.ff : kGranule;
  width += step;
  const uint64_t step_bytes = sizes.of(wide) - least_bytes;
  width += step * (static_cast<int64_t>((bytes - least_bytes) / step_bytes) - 1);
  while (sizes.of(wide) > bytes) width -= step;  // padding of tensors: no more than a step
  if (width > kWidthMax) return std::nullopt;
  return wide;
}

// How far from a usual model's proportions, and how much of the size is left over. Smaller is better.
double strangeness(const SmallModel& small, const Sizes& sizes, const Request& request, const Growth& growth) {
  const int64_t width = has_shared_block(small, growth) ? growth.shared_ff : growth.ff;
  const double left_over = 1 - static_cast<double>(sizes.of(growth)) / static_cast<double>(request.bytes);
  const double ratio = std::log2(static_cast<double>(width) / (3.0 * static_cast<double>(growth.embd)));
  const double depth = std::log2(static_cast<double>(growth.layers) / 24.0);
  return 12 * left_over + 0.5 * std::abs(ratio) + (depth > 0 ? 0.6 : 0.2) * std::abs(depth);
}

std::vector<int64_t> layer_choices(const SmallModel& small, const Request& request) {
  if (request.layers) return {*request.layers};
  std::vector<int64_t> choices;
  for (int64_t layers = small.layers; layers <= std::max<int64_t>(small.layers, 64); ++layers)
    choices.push_back(layers);
  return choices;
}

}  // namespace

std::vector<int64_t> Growth::layer_sources(int64_t small_layers) const {
  // The small model's layers lie evenly among those that add nothing.
  std::vector<int64_t> sources(static_cast<size_t>(layers), -1);
  for (int64_t layer = 0; layer < small_layers; ++layer)
    sources[static_cast<size_t>(layer * layers / small_layers)] = layer;
  return sources;
}

Expected<Growth> plan_growth(const SmallModel& small, const Request& request) {
  if (request.layers && (*request.layers < small.layers || *request.layers > kLayersMax))
    return failure(fmt::format("--layers {}: must be {} to {}", *request.layers, small.layers, kLayersMax));
  const auto fixed = fixed_part(small, request);
  if (!fixed) return failure(fixed.error());

  const Sizes sizes(small, least_of(small, *fixed));
  std::optional<Growth> best;
  double best_strangeness = 0;
  uint64_t least_bytes = 0;
  bool is_width_known = false;
  for (const int64_t factor : kWidthFactors) {
    Growth growth = *fixed;
    growth.width_factor = factor;
    growth.embd = small.embd * factor;
    if (request.embd && *request.embd != growth.embd) continue;
    is_width_known = true;
    if (growth.copies > 1 && growth.copies > growth.embd - small.embd) continue;  // no room for the tokens' numbers
    for (const int64_t layers : layer_choices(small, request)) {
      growth.layers = layers;
      if (least_bytes == 0) least_bytes = sizes.of(least_of(small, growth));
      const auto wide = widest(small, sizes, request.bytes, growth);
      if (!wide) continue;
      const double score = strangeness(small, sizes, request, *wide);
      if (best && score >= best_strangeness) continue;
      best = wide;
      best_strangeness = score;
    }
  }
  if (!is_width_known)
    return failure(fmt::format("--embd {}: must be {} times 1, 4, 16 or 64", request.embd.value_or(0), small.embd));
  if (!best && least_bytes == 0)
    return failure(
        fmt::format("--embd {}: too narrow for {} copies of each expert", request.embd.value_or(0), fixed->copies));
  if (!best && least_bytes > request.bytes)
    return failure(fmt::format("--size {}: too small, with these options the least is {}", format_bytes(request.bytes),
                               format_bytes(least_bytes)));
  if (!best)
    return failure(fmt::format("--size {}: too large for this model with these options", format_bytes(request.bytes)));
  return *best;
}

}  // namespace spillway::inflate
