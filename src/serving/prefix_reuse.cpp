// SPDX-License-Identifier: MIT
#include "serving/prefix_reuse.h"

#include <algorithm>

#include "base/notice.h"
#include "engine/prompt_parts.h"

namespace spillway {
namespace {

// A slot whose own prefix is this much shorter than another's is not worth the copy.
constexpr size_t kCopyTokensMin = 2 * kPartTokens;
// What a slot held is kept in memory before something else takes its place, when it is at least this long.
constexpr size_t kKeepTokensMin = kPartTokens;
// So few tokens are rather computed again than taken as they were computed in an answer.
constexpr size_t kComputedAgainMax = kPartTokens;
// While a prompt is computed, checkpoints are kept at this distance, and one at its last cut.
constexpr size_t kCheckpointTokens = 512;
// A conversation is written to disk again when it has grown by this share: all writes together stay below five times
// the last one.
constexpr double kStoreGrowth = 0.25;

}  // namespace

// Where a prompt may be cut so that what follows has the bits of one that was computed whole: within each text where it
// could be cut alone, and before and behind images that source and prompt have in common.
class PrefixReuse::ProperCuts {
 public:
  ProperCuts(std::span<const TokenId> source, std::span<const TokenId> prompt, size_t n_common)
      : source_(source), prompt_(prompt), n_common_(n_common) {}

  bool is_one(size_t n) const {
    if (n == 0 || n >= prompt_.size()) return false;
    if (is_image_place(prompt_[n - 1])) return cut_before_image(prompt_, n) == n;
    // The source's text ends with the prompt's: both were computed alike.
    if (is_image_place(prompt_[n])) return n < source_.size() && is_image_place(source_[n]);
    const TextStretch text = text_around(prompt_, n);
    return (n - text.begin) % kPartTokens == 0 && n - text.begin <= last_cut(text.end - text.begin);
  }

  // The last one that is at most `n_max`; 0: none.
  size_t last(size_t n_max) const {
    const size_t n = cut_before_image(prompt_, std::min(n_max, n_common_));
    if (n == 0 || is_one(n)) return n;
    const TextStretch text = text_around(prompt_, n);
    return text.begin + whole_parts(std::min(n - text.begin, last_cut(text.end - text.begin)));
  }

 private:
  const std::span<const TokenId> source_, prompt_;
  const size_t n_common_;
};

// Of one source: as it is, cut, or taken back to a checkpoint.
PrefixReuse::Way PrefixReuse::best_way(const Source& source, std::span<const TokenId> prompt) const {
  const ModelInfo& model = engine_.model();
  const size_t n_common =
      cut_before_image(prompt, common_prefix(source.tokens.first(std::min(source.tokens.size(), source.held.n)),
                                             prompt.first(prompt.size() - 1)));
  const ProperCuts cuts(source.tokens, prompt, n_common);
  Way proper, any;
  const auto consider = [&](size_t n, size_t n_as_prompt, std::optional<uint64_t> checkpoint) {
    const Way way{.n_tokens = n, .n_as_prompt = n_as_prompt, .whole = source.whole, .checkpoint = checkpoint};
    if (n > any.n_tokens) any = way;
    if (n > proper.n_tokens && n <= n_as_prompt && cuts.is_one(n)) proper = way;
  };
  for (const size_t wanted : {n_common, cuts.last(std::min(n_common, source.n_as_prompt))}) {
    const size_t n = source.held.cut_to(wanted);
    if (n <= n_common) consider(n, std::min(n, source.n_as_prompt), std::nullopt);
  }
  if (cache_ != nullptr && model.needs_checkpoints)
    for (const PromptCache::Kept& kept : cache_->kept()) {
      if (kept.part != StatePart::kCheckpoint || kept.tokens.size() >= prompt.size()) continue;
      if (!model.keeps_nothing_else && kept.tokens.size() > n_common) continue;
      if (common_prefix(kept.tokens, prompt) == kept.tokens.size())
        consider(kept.tokens.size(), kept.n_as_prompt, kept.id);
    }
  const bool is_prompt = any.n_tokens <= any.n_as_prompt;
  const Way& best = is_prompt || proper.n_tokens + kComputedAgainMax >= any.n_tokens ? proper : any;
  return best.n_tokens >= kPartTokens ? best : Way{};
}

PrefixReuse::Source PrefixReuse::source_of(const ServingSlot& slot) const {
  return {
      .tokens = slot.held(), .held = engine_.held(slot.seq), .n_as_prompt = slot.n_as_prompt, .whole = std::nullopt};
}

PrefixReuse::Way PrefixReuse::best_way(const ServingSlot& slot, std::span<const TokenId> prompt) const {
  return best_way(source_of(slot), prompt);
}

ServingSlot* PrefixReuse::choose_slot(std::span<const TokenId> prompt) const {
  ServingSlot* best = nullptr;
  ServingSlot* oldest = nullptr;
  size_t reusable = 0;
  for (const auto& slot : slots_) {
    if (slot->busy()) continue;
    if (oldest == nullptr || slot->used < oldest->used) oldest = slot.get();
    const size_t n_common = common_prefix(slot->held(), prompt);
    if (2 * n_common < slot->n_computed) continue;
    const size_t n = best_way(*slot, prompt).n_tokens;
    if (n > reusable) {
      reusable = n;
      best = slot.get();
    }
  }
  return best != nullptr ? best : oldest;
}

void PrefixReuse::bring(ServingSlot& slot, std::span<const TokenId> prompt) {
  // What is lost from this slot may be wanted again. Kept first: it may push out what would be found.
  if (2 * common_prefix(slot.held(), prompt) < slot.n_computed) keep(slot);
  const Way own = best_way(slot, prompt);
  take(slot, offered_by_others(slot, prompt, own.n_tokens + kCopyTokensMin).value_or(own));
}

void PrefixReuse::go_back(ServingSlot& slot, std::span<const TokenId> tokens) { take(slot, best_way(slot, tokens)); }

// In the cache, or in another slot, whose state goes through the cache.
std::optional<PrefixReuse::Way> PrefixReuse::offered_by_others(const ServingSlot& slot, std::span<const TokenId> prompt,
                                                               size_t n_min) {
  if (cache_ == nullptr) return std::nullopt;
  const ModelInfo& model = engine_.model();
  const auto restored = [&](size_t n) { return HeldTokens::restored(n, model.window, model.is_recurrent); };
  const auto best_kept = [&] {
    std::optional<Way> best;
    for (const PromptCache::Kept& kept : cache_->kept()) {
      if (kept.part != StatePart::kWhole || kept.tokens.size() > model.n_ctx) continue;
      const Way way = best_way(Source{.tokens = kept.tokens,
                                      .held = restored(kept.tokens.size()),
                                      .n_as_prompt = kept.n_as_prompt,
                                      .whole = kept.id},
                               prompt);
      if (way.n_tokens >= (best ? best->n_tokens + 1 : n_min)) best = way;
    }
    return best;
  };
  std::optional<Way> best = best_kept();
  const ServingSlot* other = nullptr;
  size_t n_best = best ? best->n_tokens + kCopyTokensMin : n_min;
  for (const auto& candidate : slots_) {
    if (candidate.get() == &slot || candidate->n_computed == 0) continue;
    Source source = source_of(*candidate);
    source.held = restored(source.held.n);
    const Way way = best_way(source, prompt);
    if (way.n_tokens < n_best) continue;
    n_best = way.n_tokens + 1;
    other = candidate.get();
  }
  if (other == nullptr) return best;
  keep(*other);
  if (std::optional<Way> through_memory = best_kept(); through_memory && through_memory->n_tokens + 1 >= n_best)
    return through_memory;
  store(*other);
  return best_kept();
}

void PrefixReuse::take(ServingSlot& slot, const Way& way) {
  const auto restore = [&](uint64_t id) {
    const auto restored = cache_->restore(id, engine_, slot.seq);
    if (!restored && restored.error().code() == Code::kCorrupt) notice(restored.error().message());
    return restored.has_value();
  };
  size_t n = way.n_tokens;
  if (n > 0 && way.whole && !restore(*way.whole)) n = 0;
  if (n > 0 && way.checkpoint && !restore(*way.checkpoint)) n = 0;
  slot.n_computed = engine_.cut(slot.seq, n);
  slot.n_as_prompt = std::min(slot.n_computed, way.n_as_prompt);
}

// A sequence whose images have positions in two dimensions is told whole from a part by its own context alone.
bool PrefixReuse::has_lost_positions(const ServingSlot& slot) const {
  return engine_.model().image_positions_differ && next_image(slot.held(), 0) < slot.n_computed;
}

void PrefixReuse::plan_checkpoints(ServingSlot& slot) const {
  slot.next_checkpoint = SIZE_MAX;
  slot.stop_at = 0;
  if (!engine_.model().needs_checkpoints || cache_ == nullptr) return;
  slot.next_checkpoint = (slot.n_computed / kCheckpointTokens + 1) * kCheckpointTokens;
  // Behind the last image, as in a text without one.
  const size_t begin = slot.tokens.empty() ? 0 : text_around(slot.tokens, slot.tokens.size()).begin;
  slot.stop_at = begin + last_cut(slot.tokens.size() - begin);
}

void PrefixReuse::checkpoint(ServingSlot& slot) {
  const size_t n = slot.n_computed;
  if (n != slot.stop_at && (n < slot.next_checkpoint || n % kPartTokens != 0)) return;
  if (has_lost_positions(slot) && is_image_place(slot.held().back())) return;
  cache_->keep(engine_, slot.seq, slot.held(), slot.n_as_prompt, StatePart::kCheckpoint);
  slot.next_checkpoint = (n / kCheckpointTokens + 1) * kCheckpointTokens;
}

void PrefixReuse::keep(const ServingSlot& slot) {
  if (has_lost_positions(slot)) return;
  if (cache_ != nullptr && slot.n_computed >= kKeepTokensMin)
    cache_->keep(engine_, slot.seq, slot.held(), slot.n_as_prompt, StatePart::kWhole);
}

void PrefixReuse::store_when_grown(const ServingSlot& slot) {
  if (cache_ == nullptr) return;
  const auto stored = static_cast<double>(cache_->stored_prefix(slot.held()));
  if (static_cast<double>(slot.n_computed) >= (1 + kStoreGrowth) * stored) store(slot);
}

void PrefixReuse::store(const ServingSlot& slot) {
  if (cache_ != nullptr && slot.n_computed > 0) cache_->store(engine_, slot.seq, slot.held(), slot.n_as_prompt);
}

}  // namespace spillway
