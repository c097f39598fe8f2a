// SPDX-License-Identifier: MIT
#include "serving/prefix_reuse.h"

#include <algorithm>

#include "base/notice.h"
#include "engine/prompt_parts.h"

namespace spillway {
namespace {

// A sequence whose own prefix is this much shorter than another's is not worth the copy.
constexpr size_t kCopyTokensMin = 2 * kPartTokens;
// What a sequence held is kept in memory before something else takes its place, when it is at least this long.
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
      // What it stands on may have been computed in another way since.
      const size_t n_as_prompt =
          model.keeps_nothing_else ? kept.n_as_prompt : std::min(kept.n_as_prompt, source.n_as_prompt);
      if (common_prefix(kept.tokens, prompt) == kept.tokens.size()) consider(kept.tokens.size(), n_as_prompt, kept.id);
    }
  const bool is_prompt = any.n_tokens <= any.n_as_prompt;
  const Way& best = is_prompt || proper.n_tokens + kComputedAgainMax >= any.n_tokens ? proper : any;
  return best.n_tokens >= kPartTokens ? best : Way{};
}

PrefixReuse::Source PrefixReuse::source_of(const ServedSequence& sequence) const {
  return {.tokens = sequence.held(),
          .held = engine_.held(sequence.seq),
          .n_as_prompt = sequence.n_as_prompt,
          .whole = std::nullopt};
}

PrefixReuse::Way PrefixReuse::best_way(const ServedSequence& sequence, std::span<const TokenId> prompt) const {
  return best_way(source_of(sequence), prompt);
}

ServedSequence* PrefixReuse::choose_sequence(std::span<const TokenId> prompt) const {
  ServedSequence* best = nullptr;
  ServedSequence* oldest = nullptr;
  size_t reusable = 0;
  for (const auto& sequence : sequences_) {
    if (sequence->busy()) continue;
    if (oldest == nullptr || sequence->used < oldest->used) oldest = sequence.get();
    const size_t n_common = common_prefix(sequence->held(), prompt);
    if (2 * n_common < sequence->n_computed) continue;
    const size_t n = best_way(*sequence, prompt).n_tokens;
    if (n > reusable) {
      reusable = n;
      best = sequence.get();
    }
  }
  return best != nullptr ? best : oldest;
}

void PrefixReuse::restore(ServedSequence& sequence, std::span<const TokenId> prompt) {
  // What is lost from this sequence may be wanted again. Kept first: it may push out what would be found.
  if (2 * common_prefix(sequence.held(), prompt) < sequence.n_computed) keep(sequence);
  const Way own = best_way(sequence, prompt);
  take(sequence, offered_by_others(sequence, prompt, own.n_tokens + kCopyTokensMin).value_or(own));
}

void PrefixReuse::go_back(ServedSequence& sequence, std::span<const TokenId> tokens) {
  take(sequence, best_way(sequence, tokens));
}

// In the cache, or in another sequence, whose state goes through the cache.
std::optional<PrefixReuse::Way> PrefixReuse::offered_by_others(const ServedSequence& sequence,
                                                               std::span<const TokenId> prompt, size_t n_min) {
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
  const ServedSequence* other = nullptr;
  size_t n_best = best ? best->n_tokens + kCopyTokensMin : n_min;
  for (const auto& candidate : sequences_) {
    if (candidate.get() == &sequence || candidate->n_computed == 0) continue;
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

void PrefixReuse::take(ServedSequence& sequence, const Way& way) {
  const auto restore = [&](uint64_t id) {
    const auto restored = cache_->restore(id, engine_, sequence.seq);
    if (!restored && restored.error().code() == Code::kCorrupt) notice(restored.error().message());
    return restored.has_value();
  };
  size_t n = way.n_tokens;
  if (n > 0 && way.whole && !restore(*way.whole)) n = 0;
  if (n > 0 && way.checkpoint && !restore(*way.checkpoint)) n = 0;
  sequence.n_computed = engine_.cut(sequence.seq, n);
  sequence.n_as_prompt = std::min(sequence.n_computed, way.n_as_prompt);
}

// A sequence whose images have positions in two dimensions is told whole from a part by its own context alone.
bool PrefixReuse::has_lost_positions(const ServedSequence& sequence) const {
  return engine_.model().image_positions_differ && next_image(sequence.held(), 0) < sequence.n_computed;
}

void PrefixReuse::plan_checkpoints(ServedSequence& sequence) const {
  sequence.next_checkpoint = SIZE_MAX;
  sequence.stop_at = 0;
  if (!engine_.model().needs_checkpoints || cache_ == nullptr) return;
  sequence.next_checkpoint = (sequence.n_computed / kCheckpointTokens + 1) * kCheckpointTokens;
  // Behind the last image, as in a text without one.
  const size_t begin = sequence.tokens.empty() ? 0 : text_around(sequence.tokens, sequence.tokens.size()).begin;
  sequence.stop_at = begin + last_cut(sequence.tokens.size() - begin);
}

void PrefixReuse::checkpoint(ServedSequence& sequence) {
  const size_t n = sequence.n_computed;
  if (n != sequence.stop_at && (n < sequence.next_checkpoint || n % kPartTokens != 0)) return;
  if (has_lost_positions(sequence) && is_image_place(sequence.held().back())) return;
  cache_->keep(engine_, sequence.seq, sequence.held(), sequence.n_as_prompt, StatePart::kCheckpoint);
  sequence.next_checkpoint = (n / kCheckpointTokens + 1) * kCheckpointTokens;
}

void PrefixReuse::use_new_context() {
  if (cache_ != nullptr) cache_->use_context(engine_.model().context_key);
}

void PrefixReuse::keep(const ServedSequence& sequence) {
  if (has_lost_positions(sequence)) return;
  if (cache_ != nullptr && sequence.n_computed >= kKeepTokensMin)
    cache_->keep(engine_, sequence.seq, sequence.held(), sequence.n_as_prompt, StatePart::kWhole);
}

void PrefixReuse::store_when_grown(const ServedSequence& sequence) {
  if (cache_ == nullptr) return;
  const auto stored = static_cast<double>(cache_->stored_prefix(sequence.held()));
  if (static_cast<double>(sequence.n_computed) >= (1 + kStoreGrowth) * stored) store(sequence);
}

void PrefixReuse::store(const ServedSequence& sequence) {
  if (cache_ != nullptr && sequence.n_computed > 0)
    cache_->store(engine_, sequence.seq, sequence.held(), sequence.n_as_prompt);
}

}  // namespace spillway
