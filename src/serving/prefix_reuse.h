// SPDX-License-Identifier: MIT
// What of a prompt need not be computed again: in the sequence that is given to it, in another one, in the prompt cache
// in memory or on disk; and what is kept there for later requests. Wherever it is, what may be reused of it is what its
// HeldTokens say, and checkpoints behind which it can be built on.
//
// Of what was computed as a prompt, whole parts are reused, so that what follows has the bits of a server that computed
// everything. What was computed as an answer is reused as it is: it saves more than its last bits are worth.
//
// Threads: the decode thread. Lifetime: engine, sequences and prompt cache outlive it.
#pragma once

#include <optional>
#include <span>

#include "serving/prompt_cache.h"
#include "serving/served_sequence.h"

namespace spillway {

class PrefixReuse {
 public:
  // `cache` may be null.
  PrefixReuse(Engine& engine, const ServedSequences& sequences, PromptCache* cache)
      : engine_(engine), sequences_(sequences), cache_(cache) {}

  // The free sequence that has the most of this prompt, unless taking it would throw away a longer conversation; then
  // the least recently used. null: all are busy.
  ServedSequence* choose_sequence(std::span<const TokenId> prompt) const;

  // Leaves in the sequence (`n_computed`) as much of the prompt as can be had without computing, but at least one token
  // less than all: the logits of the last one are needed. What the sequence held is kept in memory first, where that
  // pays.
  void restore(ServedSequence& sequence, std::span<const TokenId> prompt);

  // The same for a sequence that goes on with other tokens. What it held is not wanted any more.
  void go_back(ServedSequence& sequence, std::span<const TokenId> tokens);

  // Where checkpoints of the sequence are due while its tokens are computed, for models that need them.
  void plan_checkpoints(ServedSequence& sequence) const;
  // Keeps one that is due.
  void checkpoint(ServedSequence& sequence);

  // After the engine's context was made anew.
  void use_new_context();

  // What the sequence holds, in memory: before it is taken from it.
  void keep(const ServedSequence& sequence);

  // Writes to disk what the sequence holds when it has grown by enough since it was last written.
  void store_when_grown(const ServedSequence& sequence);
  // In any case, where it is not there already.
  void store(const ServedSequence& sequence);

 private:
  // A way to a beginning of what is wanted.
  struct Way {
    size_t n_tokens = 0;
    size_t n_as_prompt = 0;  // see ServedSequence
    std::optional<uint64_t> whole,
        checkpoint;  // of the cache, restored in this order; without a whole: of the sequence
  };
  // Somebody's tokens that may have the beginning of what is wanted.
  struct Source {
    std::span<const TokenId> tokens;
    HeldTokens held;
    size_t n_as_prompt = 0;
    std::optional<uint64_t> whole;
  };
  class ProperCuts;
  bool has_lost_positions(const ServedSequence& sequence) const;
  Way best_way(const Source& source, std::span<const TokenId> prompt) const;
  Way best_way(const ServedSequence& sequence, std::span<const TokenId> prompt) const;
  Source source_of(const ServedSequence& sequence) const;
  std::optional<Way> offered_by_others(const ServedSequence& sequence, std::span<const TokenId> prompt, size_t n_min);
  void take(ServedSequence& sequence, const Way& way);

  Engine& engine_;
  const ServedSequences& sequences_;
  PromptCache* const cache_;
};

}  // namespace spillway
