// SPDX-License-Identifier: MIT
// What of a prompt need not be computed again: in the slot that is given to it, in another slot, in the prompt cache in
// memory or on disk; and what is kept there for those who come later.
//
// Threads: the decode thread. Lifetime: engine, slots and prompt cache outlive it.
#pragma once

#include <span>

#include "serving/prompt_cache.h"
#include "serving/serving_slot.h"

namespace spillway {

class PrefixReuse {
 public:
  // `cache` may be null.
  PrefixReuse(Engine& engine, const ServingSlots& slots, PromptCache* cache)
      : engine_(engine), slots_(slots), cache_(cache) {}

  // The free slot that has the most of this prompt, unless taking it would throw away a longer conversation; then the
  // least recently used. null: all are busy.
  ServingSlot* choose_slot(std::span<const TokenId> prompt) const;

  // Leaves in the slot (`n_computed`) as much of the prompt as can be had without computing, but at least one token
  // less than all: the logits of the last one are needed. What the slot held is kept in memory first, where that pays.
  void bring(ServingSlot& slot, std::span<const TokenId> prompt);

  // Where the next checkpoint of the slot is due, for models whose state cannot be cut.
  void set_next_checkpoint(ServingSlot& slot) const;
  // Keeps a checkpoint when one is due, or the prompt is complete.
  void checkpoint(ServingSlot& slot);

  // What the slot holds, in memory: before it is taken from it.
  void keep(const ServingSlot& slot);

  // Writes to disk what the slot holds when it has grown by enough since it was last written.
  void store_when_grown(const ServingSlot& slot);
  // In any case, where it is not there already.
  void store(const ServingSlot& slot);

 private:
  Engine& engine_;
  const ServingSlots& slots_;
  PromptCache* const cache_;
};

}  // namespace spillway
