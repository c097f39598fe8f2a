// SPDX-License-Identifier: MIT
#include "store/pinned_weights.h"

#include <algorithm>
#include <new>
#include <optional>
#include <utility>

#include "base/check.h"

namespace spillway {
namespace {

constexpr uint32_t kNone = 0xffffffff;

uint64_t part_bytes_max(const Layout& layout) {
  uint64_t bytes = 0;
  for (const PinnedWeight& weight : layout.pinned) bytes = std::max(bytes, weight.shape.part_bytes);
  return bytes;
}

}  // namespace

PinnedWeights::PinnedWeights(const Layout& layout, const std::vector<TensorInfo>& tensors, Source source)
    : layout_(layout),
      tensors_(tensors),
      source_(std::move(source)),
      index_of_(tensors.size(), kNone),
      is_here_(std::make_unique<std::atomic<bool>[]>(layout.pinned.size())) {
  for (uint32_t i = 0; i < layout.pinned.size(); ++i) {
    index_of_[layout.pinned[i].tensor] = i;
    if (!layout.pinned[i].can_go) bytes_min_ = round_up(layout.pinned[i].end(), layout.unit_bytes);
  }
}

Result<std::unique_ptr<PinnedWeights>> PinnedWeights::open(const Layout& layout, const std::vector<TensorInfo>& tensors,
                                                           Source source) {
  std::unique_ptr<PinnedWeights> weights(new PinnedWeights(layout, tensors, std::move(source)));
  ASSIGN_OR_RETURN(weights->area_, HugeArea::reserve(layout.pinned_bytes, layout.unit_bytes));
  return weights;
}

// An expert tensor that is put into another form is so slice by slice.
Fill PinnedWeights::fill_of(const PinnedWeight& weight) const {
  const TensorInfo& tensor = tensors_[weight.tensor];
  Fill fill{.tag = weight.tensor, .file = source_.files[tensor.file], .tensor = weight.tensor, .pieces = {}};
  std::byte* to = area_.data() + weight.data_begin();
  const bool staged = weight.shape.part_bytes > 0 && layout_.form(weight.tensor) == Form::kRepacked;
  const uint32_t n = staged ? tensor.slices : 1;
  const uint64_t slot_bytes = layout_.shapes[weight.tensor].slot_bytes;
  for (uint32_t s = 0; s < n; ++s)
    fill.pieces.push_back({.range = {tensor.range.offset + s * (tensor.range.bytes / n), tensor.range.bytes / n},
                           .to = to + s * slot_bytes,
                           .part_bytes = weight.shape.part_bytes});
  return fill;
}

Result<void> PinnedWeights::load(uint64_t bytes, IoQueue& queue, Workers& workers, const Progress& progress) {
  if (is_loaded()) return {};
  // What was turned away and has its memory still may be computed with, and is as it was read.
  const size_t n_before = n_loaded_;
  while (!is_loaded() && layout_.pinned[n_loaded_].end() <= filled_bytes_) is_here_[n_loaded_++] = true;
  if (n_loaded_ > n_before) return {};
  // 1. Which, and memory for them.
  const uint64_t begin = layout_.pinned[n_loaded_].begin;
  size_t end = n_loaded_ + 1;
  while (end < layout_.pinned.size() && layout_.pinned[end].end() - begin <= bytes) ++end;
  const uint64_t had_bytes = area_.bytes();
  // Behind them may lie what was turned away and is still computed with.
  RETURN_IF_ERROR(area_.resize(std::max(had_bytes, layout_.pinned[end - 1].end())));
  bytes_held_ = area_.bytes();
  if (layout_.unit_bytes >= kHugePageBytes)
    populate_beside(workers, area_.data() + had_bytes, area_.bytes() - had_bytes);

  // 2. All of them through the queue.
  Mutex mu;
  std::optional<Status> failure;
  bool any_failed = false;
  std::atomic<uint64_t> done_bytes{0};
  {
    ASSIGN_OR_RETURN(const auto fills, Fills::open(queue, workers,
                                                   {.read_bytes = source_.read_bytes,
                                                    .buffer_bytes = layout_.buffer_bytes,
                                                    .part_bytes_max = part_bytes_max(layout_),
                                                    .place = source_.place},
                                                   [&](uint64_t tag, const std::optional<Status>& why) {
                                                     done_bytes += tensors_[tag].range.bytes;
                                                     if (!why) return;
                                                     MutexLock lock(mu);
                                                     any_failed = true;
                                                     try {
                                                       if (!failure) failure = why;
                                                     } catch (const std::bad_alloc&) {  // for its text
                                                     }
                                                   }));
    size_t next = n_loaded_;
    bool cancelled = false;
    while (!cancelled && (next < end || fills->has_unsent() || fills->is_busy())) {
      while (next < end && !fills->has_unsent()) {
        fills->begin(fill_of(layout_.pinned[next++]));
        fills->submit();
      }
      fills->submit();
      if (fills->is_busy()) fills->wait();
      cancelled = progress && !progress(done_bytes);
      MutexLock lock(mu);
      if (any_failed) next = end;
    }
    if (cancelled) return error(Code::kCancelled, "loading was cancelled");
  }
  MutexLock lock(mu);
  if (failure) return Failure(*failure);
  if (any_failed) return error(Code::kOutOfBudget, "there is no memory left to say why weights cannot be read");

  // 3. They are there.
  filled_bytes_ = layout_.pinned[end - 1].end();
  for (; n_loaded_ < end; ++n_loaded_) is_here_[n_loaded_] = true;
  return {};
}

std::byte* PinnedWeights::data(uint32_t tensor) const {
  const uint32_t index = index_of_[tensor];
  if (index == kNone || !is_here_[index]) return nullptr;
  return area_.data() + layout_.pinned[index].data_begin();
}

bool PinnedWeights::can_go(uint32_t tensor) const {
  const uint32_t index = index_of_[tensor];
  return index != kNone && layout_.pinned[index].can_go;
}

void PinnedWeights::give_back(uint64_t bytes) {
  bool any = false;
  while (n_loaded_ > 0 && layout_.pinned[n_loaded_ - 1].can_go && kept_bytes() > bytes) {
    is_here_[--n_loaded_] = false;
    any = true;
  }
  // A stretch that begins after this sees it. One that is under way may have looked before.
  if (any) turned_away_in_ = stretch_.load();
  free_what_is_over();
}

uint64_t PinnedWeights::kept_bytes() const {
  return n_loaded_ == 0 ? 0 : round_up(layout_.pinned[n_loaded_ - 1].end(), layout_.unit_bytes);
}

void PinnedWeights::free_what_is_over() {
  if (!is_over() || (turned_away_in_ % 2 == 1 && stretch_.load() == turned_away_in_)) return;
  const auto outcome = area_.resize(kept_bytes());
  CHECK(outcome.has_value());
  bytes_held_ = area_.bytes();
  filled_bytes_ = std::min(filled_bytes_, n_loaded_ == 0 ? 0 : layout_.pinned[n_loaded_ - 1].end());
}

uint64_t PinnedWeights::bytes_with_next() const {
  return is_loaded() ? bytes_held_.load() : round_up(layout_.pinned[n_loaded_].end(), layout_.unit_bytes);
}

void PinnedWeights::corrupt(uint32_t tensor) {
  if (std::byte* bytes = data(tensor); bytes != nullptr) bytes[tensors_[tensor].range.bytes / 2] ^= std::byte{0x10};
}

}  // namespace spillway
