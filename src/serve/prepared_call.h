// SPDX-License-Identifier: MIT
// From a call to what a scheduler takes: the prompt by the model's template, cut to its context, sampling, grammar, and
// how the answer is to be read.
//
// Threads: any. Pure but for the model's tokenizer and template.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/status.h"
#include "chat/output_parser.h"
#include "serve/call.h"
#include "serve/loaded_model.h"
#include "serve/message_images.h"

namespace spillway {

// What a call's prompt is, and how its answer is to be read.
struct PreparedCall {
  GenerateRequest request;
  size_t n_cut = 0;                     // tokens that were left out because the context is too small for them
  std::string prompt_text;              // as the template made it; empty for token ids
  std::optional<ParserOptions> parser;  // nullopt: the answer is text as it is
};

// A call that is made ready in steps, so that the thread that waits for it can tell its client meanwhile that it is
// still there. What of it takes long waits for turns of its own: a template that it brings, each of its images, and the
// prompt. No turn lasts longer than the step in which it comes.
// Lifetime: model and call outlive it.
class CallPreparation {
 public:
  CallPreparation(const LoadedModel& model, const Call& call);

  // What became of it, once; nullopt: not yet. Waits for `patience` at the longest, beside what is done in a turn.
  //   InvalidArgument   a capability the model lacks, a schema or option that makes no sense
  //   ContextOverflow   it does not fit, and may not be cut; or has more than kPromptBytesMax of text
  //   Busy              others' templates are looked at, for 30 s
  std::optional<Result<PreparedCall>> step(std::chrono::milliseconds patience);

 private:
  const LoadedModel& model() const { return own_model_ != nullptr ? *own_model_ : model_; }
  std::optional<Result<PreparedCall>> look_at_template(std::chrono::milliseconds patience);
  std::optional<Result<PreparedCall>> look_at_image(std::chrono::milliseconds patience);

  const LoadedModel& model_;
  const Call& call_;
  const Stopwatch since_made_;
  std::unique_ptr<const LoadedModel> own_model_;  // the same with the call's own template; null: not yet, or none
  bool is_checked_ = false;
  std::optional<ImageInspection> images_;
  std::unique_ptr<FairPlaces::Turn> template_turn_, image_turn_, turn_;  // in the line
};

// All steps of it.
//   Cancelled   the asker left; and the errors of a step
Result<PreparedCall> prepare_call(const LoadedModel& model, const Call& call);

// The least number of tokens that a text of so many bytes can be.
size_t tokens_min(const LoadedModel& model, size_t bytes);

// Splitting a text into tokens is one call that nothing stops, and Gemma's tokenizer took 2 s for a megabyte. So much
// of a prompt is split; a context of a million tokens of English has 5 MB.
inline constexpr size_t kPromptBytesMax = 8u << 20;

// For a text that is cut to `limit` tokens of its beginning and its end anyway: without what is far from both.
std::string near_its_ends(const LoadedModel& model, const std::string& text, size_t limit);

}  // namespace spillway
