// SPDX-License-Identifier: MIT
// One call on its way to its answer: the model is loaded, the prompt made and computed, the text taken apart. In steps,
// so that whoever waits can tell the client meanwhile that it is still there.
//
// Threads: one, that of the request. What it holds (lease, ticket) is given back when it ends, wherever it is.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "chat/output_parser.h"
#include "serve/call.h"
#include "serve/model_manager.h"

namespace spillway {

// What a call's prompt is, and how its answer is to be read.
struct PreparedCall {
  GenerateRequest request;
  size_t n_cut = 0;                     // tokens that were left out because the context is too small for them
  std::string prompt_text;              // as the template made it; empty for token ids
  std::optional<ParserOptions> parser;  // nullopt: the answer is text as it is
};

// Pure but for the model's tokenizer and template.
//   InvalidArgument   a capability the model lacks, a schema or option that makes no sense
//   ContextOverflow   it does not fit, and may not be cut
Result<PreparedCall> prepare_call(const LoadedModel& model, const Call& call);

class AnswerRun {
 public:
  AnswerRun(ModelManager& manager, Call call, std::string client);
  ~AnswerRun();
  AnswerRun(const AnswerRun&) = delete;
  AnswerRun& operator=(const AnswerRun&) = delete;

  struct Step {
    enum Kind { kWaiting, kPart, kEnd, kFailure } kind = kWaiting;
    std::optional<PromptCount> counted;  // with one step, before or with the first part
    AnswerPart part;
    AnswerEnd end;
    std::optional<Status> failure;
    size_t choice = 0;  // of a group
  };
  // What comes next, or kWaiting after `patience`. After kEnd or kFailure there is nothing more.
  Step step(std::chrono::milliseconds patience);

  // What it waits for now; before the first part of the answer.
  CallProgress progress() const;

 private:
  Step after_loading(Result<Lease> lease);
  std::string echo_of(PreparedCall& prepared) const;
  Step take_news(News news);

  ModelManager& manager_;
  const Call call_;
  const std::string client_;
  Stopwatch since_start_;
  std::optional<ModelManager::Wish> wish_;
  Lease lease_;
  double load_s_ = 0;               // until there was one
  std::shared_ptr<Ticket> ticket_;  // shared with the scheduler
  std::unique_ptr<OutputParser> parser_;
  bool counted_ = false, called_tools_ = false;
  bool answered_ = false;  // what was asked for is there, and nothing that follows is passed on
  std::optional<std::string> echo_;
  std::string thoughts_;
  Phase phase_ = Phase::kQueued;
  CallProgress prompt_;  // as of the last news
  Stopwatch since_prompt_;
  std::optional<AnswerEnd> pending_end_;
};

// The same for embeddings, all at once; `still_wanted` is asked now and then.
Result<EmbedResult> embed(ModelManager& manager, const EmbedCall& call, const std::function<bool()>& still_wanted);

// Waits for a model. Cancelled when it is not wanted any more.
Result<Lease> acquire(ModelManager& manager, const std::string& name, std::optional<int64_t> n_ctx,
                      std::optional<double> keep_alive_s, const std::function<bool()>& still_wanted);

}  // namespace spillway
