// SPDX-License-Identifier: MIT
// From a call to what a scheduler takes: the prompt by the model's template, cut to its context, sampling, grammar, and
// how the answer is to be read.
//
// Threads: any. Pure but for the model's tokenizer and template.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/status.h"
#include "chat/output_parser.h"
#include "serve/call.h"
#include "serve/loaded_model.h"

namespace spillway {

// What a call's prompt is, and how its answer is to be read.
struct PreparedCall {
  GenerateRequest request;
  size_t n_cut = 0;                     // tokens that were left out because the context is too small for them
  std::string prompt_text;              // as the template made it; empty for token ids
  std::optional<ParserOptions> parser;  // nullopt: the answer is text as it is
};

// Waits for its turn, but for a caller who has waited: what turn_of() gave him has come, and lives as long as this
// call.
//   InvalidArgument   a capability the model lacks, a schema or option that makes no sense
//   ContextOverflow   it does not fit, and may not be cut; or has more than kPromptBytesMax of text
//   Cancelled         the asker left
enum class Turns { kWait, kHasCome };
Result<PreparedCall> prepare_call(const LoadedModel& model, const Call& call, Turns turns = Turns::kWait);

// Null for a call that waits for other things first: its images, or a look at its own template. Also for one of several
// of a request: while another one is sent, to a client that hardly reads, a turn that has come would keep others out.
std::unique_ptr<FairPlaces::Turn> turn_of(const LoadedModel& model, const Call& call);

// The least number of tokens that a text of so many bytes can be.
size_t tokens_min(const LoadedModel& model, size_t bytes);

// Splitting a text into tokens is one call that nothing stops, and Gemma's tokenizer took 2 s for a megabyte. So much
// of a prompt is split; a context of a million tokens of English has 5 MB.
inline constexpr size_t kPromptBytesMax = 8u << 20;

// For a text that is cut to `limit` tokens of its beginning and its end anyway: without what is far from both.
std::string near_its_ends(const LoadedModel& model, const std::string& text, size_t limit);

}  // namespace spillway
