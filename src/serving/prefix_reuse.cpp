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

// Of one source: as it is, cut, or taken back to a checkpoint.
PrefixReuse::Way PrefixReuse::best_way(const Source& source, std::span<const TokenId> prompt) const {
  const ModelInfo& model = engine_.model();
  const size_t n_common = common_prefix(source.tokens.first(std::min(source.tokens.size(), source.held.n)),
                                        prompt.first(prompt.size() - 1));
  const size_t proper_max = last_cut(prompt.size());
  Way proper, any;
  const auto consider = [&](size_t n, size_t n_as_prompt, std::optional<uint64_t> checkpoint) {
    const Way way{.n_tokens = n, .n_as_prompt = n_as_prompt, .whole = source.whole, .checkpoint = checkpoint};
    if (n > any.n_tokens) any = way;
    if (n > proper.n_tokens && n <= proper_max && n <= n_as_prompt && n % kPartTokens == 0) proper = way;
  };
  for (const size_t wanted : {n_common, whole_parts(std::min({n_common, source.n_as_prompt, proper_max}))}) {
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

void PrefixReuse::plan_checkpoints(ServingSlot& slot) const {
  slot.next_checkpoint = SIZE_MAX;
  slot.stop_at = 0;
  if (!engine_.model().needs_checkpoints || cache_ == nullptr) return;
  slot.next_checkpoint = (slot.n_computed / kCheckpointTokens + 1) * kCheckpointTokens;
  slot.stop_at = last_cut(slot.tokens.size());
}

void PrefixReuse::checkpoint(ServingSlot& slot) {
  const size_t n = slot.n_computed;
  if (n != slot.stop_at && (n < slot.next_checkpoint || n % kPartTokens != 0)) return;
  cache_->keep(engine_, slot.seq, slot.held(), slot.n_as_prompt, StatePart::kCheckpoint);
  slot.next_checkpoint = (n / kCheckpointTokens + 1) * kCheckpointTokens;
}

void PrefixReuse::keep(const ServingSlot& slot) {
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
