// SPDX-License-Identifier: MIT
#include "serving/prefix_reuse.h"

#include <optional>

#include "base/notice.h"

namespace spillway {
namespace {

// A slot whose own prefix is this much shorter than another's is not worth the copy.
constexpr size_t kCopyTokensMin = 32;
// What a slot held is kept in memory before something else takes its place, when it is at least this long.
constexpr size_t kKeepTokensMin = 32;
// Recurrent states cannot be cut, so they are kept at these distances while a prompt is computed, and at its end.
constexpr size_t kCheckpointTokens = 512;
// A conversation is written to disk again when it has grown by this share: all writes together stay below five times
// the last one.
constexpr double kStoreGrowth = 0.25;

}  // namespace

ServingSlot* PrefixReuse::choose_slot(std::span<const TokenId> prompt) const {
  ServingSlot* best = nullptr;
  ServingSlot* oldest = nullptr;
  size_t reusable = 0;
  for (const auto& slot : slots_) {
    if (slot->busy()) continue;
    if (oldest == nullptr || slot->used < oldest->used) oldest = slot.get();
    const size_t n = common_prefix(slot->held(), prompt);
    const bool continues = 2 * n >= slot->n_computed;
    if (n > reusable && continues) {
      reusable = n;
      best = slot.get();
    }
  }
  return best != nullptr ? best : oldest;
}

void PrefixReuse::bring(ServingSlot& slot, std::span<const TokenId> prompt) {
  const std::span<const TokenId> wanted = prompt.first(prompt.size() - 1);
  const bool cuttable = engine_.model().can_trim;
  const auto usable = [&](std::span<const TokenId> held) {
    const size_t n = common_prefix(held, wanted);
    return cuttable || n == held.size() ? n : 0;
  };
  // 1. In a slot.
  const size_t own = usable(slot.held());
  ServingSlot* other = nullptr;
  size_t best = own;
  for (const auto& candidate : slots_) {
    if (candidate.get() == &slot) continue;
    const size_t n = usable(candidate->held());
    if (n >= best + kCopyTokensMin) {
      best = n;
      other = candidate.get();
    }
  }
  // 2. In the cache. What is lost from this slot may be wanted again. Kept first: it may push out what would be found.
  if (2 * own < slot.n_computed) keep(slot);
  std::optional<PromptCache::Match> match;
  if (cache_ != nullptr) {
    match = cache_->find(wanted, !cuttable);
    if (match && match->n_tokens < best + kCopyTokensMin) match.reset();
  }
  // 3. The longest is brought, and cut to what is wanted.
  size_t held = slot.n_computed, n = own;
  if (match) {
    const auto restored = cache_->restore(*match, engine_, slot.seq);
    if (!restored && restored.error().code() == Code::kCorrupt) notice(restored.error().message());
    if (!restored) engine_.forget(slot.seq, 0);
    held = restored ? match->n_held : 0;
    n = restored ? match->n_tokens : 0;
  } else if (other != nullptr) {
    engine_.copy_sequence(other->seq, slot.seq);
    held = other->n_computed;
    n = best;
  }
  if (n < held && !engine_.forget(slot.seq, static_cast<int32_t>(n))) {
    engine_.forget(slot.seq, 0);
    n = 0;
  }
  slot.n_computed = n;
}

void PrefixReuse::set_next_checkpoint(ServingSlot& slot) const {
  slot.next_checkpoint = (slot.n_computed / kCheckpointTokens + 1) * kCheckpointTokens;
}

void PrefixReuse::checkpoint(ServingSlot& slot) {
  if (engine_.model().can_trim || cache_ == nullptr) return;
  if (slot.n_computed < slot.next_checkpoint && slot.n_missing() > 0) return;
  cache_->keep(engine_, slot.seq, slot.held());
  set_next_checkpoint(slot);
}

void PrefixReuse::keep(const ServingSlot& slot) {
  if (cache_ != nullptr && slot.n_computed >= kKeepTokensMin) cache_->keep(engine_, slot.seq, slot.held());
}

void PrefixReuse::store_when_grown(const ServingSlot& slot) {
  if (cache_ == nullptr) return;
  const auto stored = static_cast<double>(cache_->stored_prefix(slot.held()));
  if (static_cast<double>(slot.n_computed) >= (1 + kStoreGrowth) * stored) store(slot);
}

void PrefixReuse::store(const ServingSlot& slot) {
  if (cache_ != nullptr && slot.n_computed > 0) cache_->store(engine_, slot.seq, slot.held());
}

}  // namespace spillway
