// SPDX-License-Identifier: MIT
#include "inflate/composer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/check.h"
#include "inflate/exact_encoding.h"
#include "make_model/random.h"

namespace spillway::inflate {
namespace {

using make_model::Random;
using make_model::stream_seed;

// A token's number in the residual stream: the least that a half can be, so that its square is lost beside the squares
// of the rest, whatever they are.
constexpr float kMark = 0x1p-24f;
// Times that mark, after the norm, it makes a logit of -16384 and less where the stream's numbers are about 1.
constexpr float kOutOfTheQuestion = -0x1p38f;

constexpr uint64_t kPoolBytes = 4 << 20;
constexpr int64_t kPoolNumbers = 1 << 14;  // what BlockPool makes at a time

uint64_t pool_bytes(ggml_type type) {
  const uint64_t chunk = ggml_row_size(type, kPoolNumbers);
  return (kPoolBytes + chunk - 1) / chunk * chunk;
}

// Typical size of the numbers that a matrix of the small model has: random ones are to look like them.
float sigma_of(const SmallModel& small) {
  const SmallTensor* up = small.find(0, small.is_dense() ? "ffn_up.weight" : "ffn_up_exps.weight");
  double squares = 0;
  const std::vector<float> row = up->row(0, 0);
  for (const float number : row) squares += static_cast<double>(number) * number;
  const float sigma = static_cast<float>(std::sqrt(squares / static_cast<double>(row.size())));
  return std::clamp(sigma, 1e-3f, 1.0f);
}

std::string layer_name(const BigTensor& tensor) {
  return fmt::format("{}{}", tensor.layer, tensor.is_shared ? "s" : "");
}

void zero(std::span<std::byte> out) { std::memset(out.data(), 0, out.size()); }

void copy(std::span<const std::byte> from, std::span<std::byte> to) {
  std::memcpy(to.data(), from.data(), from.size());
}

}  // namespace

Composer::Composer(const SmallModel& small, const Growth& growth, const std::vector<BigTensor>& tensors, uint64_t seed)
    : small_(small), growth_(growth), seed_(seed) {
  const float sigma = sigma_of(small);
  for (const BigTensor& tensor : tensors) {
    const bool is_encoded = tensor.source && tensor.content != Content::kNorm && tensor.content != Content::kRouter &&
                            tensor.content != Content::kAsItIs;
    if (is_encoded && !pieces_.contains({tensor.source, tensor.type})) {
      const float factor = is_units_out(*tensor.source) ? static_cast<float>(growth.parts) : 1.0f;
      auto encoded = encode_pieces(*tensor.source, tensor.type, factor);
      CHECK(encoded);  // plan_growth() chose types that hold them
      pieces_.emplace(std::pair(tensor.source, tensor.type), std::move(*encoded));
    }
    const bool is_random = tensor.content == Content::kRandom || tensor.content == Content::kUnitsIn ||
                           tensor.content == Content::kUnitsOut;
    if (is_random)
      pools_.try_emplace(tensor.type, tensor.type, sigma, pool_bytes(tensor.type), stream_seed(seed, "pool"));
  }
  if (growth.copies > 1) {
    for (int64_t copy = 0; copy < growth.copies; ++copy) {
      std::vector<float> marks(static_cast<size_t>(growth.embd - small.embd));
      std::fill_n(marks.begin(), growth.copies, kMark);
      marks[static_cast<size_t>(copy)] = 0;
      std::vector<std::byte>& bytes = token_numbers_[copy];
      bytes.resize(ggml_row_size(growth.table_type, static_cast<int64_t>(marks.size())));
      CHECK(encode_exactly(growth.table_type, marks, bytes));  // one scale, and 0 or 1 times it
    }
  }
  // Experts in an order of each layer's own, unless they are the small model's.
  for (int64_t layer = 0; layer < growth.layers; ++layer) {
    std::vector<int64_t>& order = expert_order_.emplace_back(static_cast<size_t>(growth.experts));
    std::iota(order.begin(), order.end(), 0);
    if (growth.experts == small.experts) continue;
    Random random(stream_seed(stream_seed(seed, "experts"), static_cast<uint64_t>(layer)));
    for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
  }
}

ExpertOrigin Composer::origin(int64_t layer, int64_t expert) const {
  const int64_t number = expert_order_[static_cast<size_t>(layer)][static_cast<size_t>(expert)];
  return {number / growth_.parts % small_.experts, number / growth_.parts / small_.experts, number % growth_.parts};
}

const Pieces& Composer::pieces(const BigTensor& tensor) const { return pieces_.at({tensor.source, tensor.type}); }

void Composer::compose(const BigTensor& tensor, int64_t row, std::span<std::byte> out) {
  switch (tensor.content) {
    case Content::kTokenTable:
      return compose_table(tensor, row, out);
    case Content::kFromStream:
      zero(out);
      return copy(pieces(tensor).piece(0, row, 0), out);
    case Content::kToStream:
      return row < small_.embd ? copy(pieces(tensor).piece(0, row, 0), out) : zero(out);
    case Content::kNorm: {
      std::vector<float> weights(static_cast<size_t>(tensor.columns), tensor.beyond);
      // The root of the mean is divided by the root of width_factor in the large model.
      const float factor = 1 / std::sqrt(static_cast<float>(growth_.width_factor));
      const std::vector<float> old =
          tensor.source ? tensor.source->row(0, 0) : std::vector<float>(static_cast<size_t>(small_.embd), 1.0f);
      std::transform(old.begin(), old.end(), weights.begin(), [&](float weight) { return weight * factor; });
      return copy(std::as_bytes(std::span(weights)), out);
    }
    case Content::kRouter:
      return compose_router(tensor, row, out);
    case Content::kUnitsIn:
      return compose_units_in(tensor, row, out);
    case Content::kUnitsOut:
      return compose_units_out(tensor, row, out);
    case Content::kAsItIs:
      return copy(std::span(tensor.source->bytes).subspan(static_cast<size_t>(row) * out.size(), out.size()), out);
    case Content::kRandom:
      return fill_randomly(tensor, row, out);
    case Content::kZero:
      return zero(out);
  }
}

void Composer::compose_table(const BigTensor& tensor, int64_t row, std::span<std::byte> out) const {
  zero(out);
  const std::span<const std::byte> numbers = pieces(tensor).piece(0, row, 0);
  copy(numbers, out);
  if (growth_.copies == 1) return;
  const uint64_t copy_of_token =
      stream_seed(stream_seed(seed_, "tokens"), static_cast<uint64_t>(row)) % static_cast<uint64_t>(growth_.copies);
  copy(token_numbers_.at(static_cast<int64_t>(copy_of_token)), out.subspan(numbers.size()));
}

void Composer::compose_router(const BigTensor& tensor, int64_t row, std::span<std::byte> out) const {
  std::vector<float> weights(static_cast<size_t>(tensor.columns));
  if (tensor.source) {
    const ExpertOrigin from = origin(tensor.layer, row);
    const std::vector<float> old = tensor.source->row(0, from.expert);
    std::copy(old.begin(), old.end(), weights.begin());
    // Which dimension stands for which copy differs from layer to layer, so that tokens meet other company in each.
    if (growth_.copies > 1)
      weights[static_cast<size_t>(small_.embd + (from.copy + tensor.layer) % growth_.copies)] = kOutOfTheQuestion;
  } else {
    Random random(stream_seed(stream_seed(seed_, tensor.name), static_cast<uint64_t>(row)));
    for (int64_t i = 0; i < small_.embd; ++i) weights[static_cast<size_t>(i)] = 0.1f * random.gaussian();
  }
  copy(std::as_bytes(std::span(weights)), out);
}

std::vector<Granule> Composer::make_layout(const BigTensor& tensor, int64_t expert) const {
  const int64_t units = tensor.is_shared ? growth_.shared_ff : growth_.ff;
  std::vector<Granule> granules(static_cast<size_t>(units / kGranule));
  Random random(stream_seed(stream_seed(seed_, "units " + layer_name(tensor)), static_cast<uint64_t>(expert)));
  for (Granule& granule : granules)
    granule.kind = random.below(2) == 0 ? Granule::Kind::kNotRead : Granule::Kind::kNotComputed;
  const bool is_live =
      !tensor.is_shared && growth_.layer_sources(small_.layers)[static_cast<size_t>(tensor.layer)] >= 0;
  if (!is_live) return granules;
  // The live ones at places of this expert's own, in their old order: sums keep the order of their terms.
  const int64_t live = (small_.ff / growth_.parts + kGranule - 1) / kGranule;
  const int64_t part = growth_.experts > 0 ? origin(tensor.layer, expert).part : 0;
  std::vector<size_t> places(granules.size());
  std::iota(places.begin(), places.end(), 0);
  for (size_t i = places.size(); i > 1; --i) std::swap(places[i - 1], places[random.below(i)]);
  std::sort(places.begin(), places.begin() + live);
  for (int64_t i = 0; i < live; ++i) granules[places[static_cast<size_t>(i)]] = {Granule::Kind::kLive, part * live + i};
  return granules;
}

const std::vector<Granule>& Composer::layout(const BigTensor& tensor, int64_t expert) {
  std::pair<std::string, int64_t> wanted{layer_name(tensor), expert};
  if (layout_of_ != wanted) {
    layout_ = make_layout(tensor, expert);
    layout_of_ = std::move(wanted);
  }
  return layout_;
}

void Composer::compose_units_in(const BigTensor& tensor, int64_t row, std::span<std::byte> out) {
  const int64_t expert = row / tensor.rows, unit = row % tensor.rows;
  const Granule granule = layout(tensor, expert)[static_cast<size_t>(unit / kGranule)];
  if (granule.kind == Granule::Kind::kLive) {
    const int64_t pieces_per_part = (small_.ff / growth_.parts + kGranule - 1) / kGranule;
    const int64_t part = granule.piece / pieces_per_part;
    const int64_t unit_of_part = granule.piece % pieces_per_part * kGranule + unit % kGranule;
    const int64_t units_per_part = small_.ff / growth_.parts;
    if (unit_of_part < units_per_part) {
      zero(out);
      const int64_t from = growth_.experts > 0 ? origin(tensor.layer, expert).expert : 0;
      return copy(pieces(tensor).piece(from, part * units_per_part + unit_of_part, 0), out);
    }
    // Beyond the last live unit of a part: down's piece ends in zeros, and its block must hold no foreign values.
  }
  if (tensor.is_up && granule.kind != Granule::Kind::kNotRead) return zero(out);
  fill_randomly(tensor, row, out);
}

void Composer::compose_units_out(const BigTensor& tensor, int64_t row, std::span<std::byte> out) {
  const int64_t expert = row / tensor.rows, dimension = row % tensor.rows;
  const std::vector<Granule>& granules = layout(tensor, expert);
  const size_t bytes = ggml_row_size(tensor.type, kGranule);
  fill_randomly(tensor, row, out);
  for (size_t i = 0; i < granules.size(); ++i) {
    const std::span<std::byte> place = out.subspan(i * bytes, bytes);
    if (granules[i].kind == Granule::Kind::kNotRead) zero(place);
    if (granules[i].kind != Granule::Kind::kLive) continue;
    if (dimension >= small_.embd) {
      zero(place);
    } else {
      const int64_t from = growth_.experts > 0 ? origin(tensor.layer, expert).expert : 0;
      copy(pieces(tensor).piece(from, dimension, granules[i].piece), place);
    }
  }
}

void Composer::fill_randomly(const BigTensor& tensor, int64_t row, std::span<std::byte> out) const {
  Random random(stream_seed(stream_seed(seed_, tensor.name), static_cast<uint64_t>(row)));
  pools_.at(tensor.type).compose_row(random, out);
}

}  // namespace spillway::inflate
