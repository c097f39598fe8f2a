// SPDX-License-Identifier: MIT
// The context of a model: what it needs, whether there is room for that, and making it. Used by the thread that loads,
// and later by the decode thread.
#pragma once

#include <cstdint>

#include "engine/engine_model.h"

namespace spillway {

// As the options have it; what they leave open is 0.
ContextShape shape_asked(const LoadOptions& options);

// What a context of such a shape, but of `n_ctx` tokens, takes on the host, by the metadata. Layers on devices have
// theirs there.
//   InvalidArgument   more tokens than any context has
Result<uint64_t> context_need_bytes(const LoadRequest& request, const DeviceOptions& devices, const ContextShape& shape,
                                    uint64_t n_ctx);

// Whether `bytes` more are there, by what is resident of the process now, the budget, and what the machine and every
// cgroup above have left.
//   OutOfBudget   they are not; the message says what is
Result<void> check_memory_left(uint64_t budget_bytes, uint64_t bytes);

// The context that was decided on. What it needs is counted before anything is taken. `gated`: with a gate.
//   OutOfBudget   no memory for it beside what is resident
//   InvalidArgument   more tokens than any context has      Unavailable   a worker is lost
Result<EngineContext> make_context(const MappedModel& mapped, const Decision& decision, bool gated);

// Another one of `n_ctx` tokens in place of the one there is, which goes first; the gate stays. Where it was counted
// already, or was there before.
Result<void> remake_context(EngineContext& context, const MappedModel& mapped, const Decision& decision,
                            uint32_t n_ctx);

// By what buffers grow in the first pass with adapters: libllama reserves them without.
uint64_t adapter_growth_bytes(const LoadRequest& request, const llama_context* context);

// What the engine says of both.
//   Unsupported   the file's figures do not go together
Result<ModelInfo> describe(const MappedModel& mapped, const Decision& decision, const EngineContext& context);

// What the size of the context decides of `info`.
void describe_context(const MappedModel& mapped, const EngineContext& context, ModelInfo& info);

}  // namespace spillway
