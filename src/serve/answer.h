// SPDX-License-Identifier: MIT
// One call on its way to its answer: the model is loaded, the prompt made and computed, the text taken apart. In steps,
// so that the waiting thread can tell the client meanwhile that it is still there.
//
// Threads: one, that of the request. What it holds (lease, ticket) is given back when it ends, wherever it is.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "serve/answer_reader.h"
#include "serve/call.h"
#include "serve/model_manager.h"

namespace spillway {

class AnswerRun {
 public:
  AnswerRun(ModelManager& manager, Call call);
  AnswerRun(const AnswerRun&) = delete;
  AnswerRun& operator=(const AnswerRun&) = delete;

  using Step = AnswerReader::Step;
  // What comes next, or kWaiting after `patience`. After kEnd or kFailure there is nothing more.
  Step step(std::chrono::milliseconds patience);

  // Whether it waits for turns that come to who waits for them at that moment.
  bool is_made_ready() const { return preparation_ != nullptr; }

  // What it waits for now; before the first part of the answer.
  CallProgress progress() const;

 private:
  Step after_loading(Result<Lease> lease);
  Step prepare(std::chrono::milliseconds patience);
  Step begin(PreparedCall prepared);
  Step failed(Status status) const;
  std::string echo_of(PreparedCall& prepared) const;

  ModelManager& manager_;
  const Call call_;
  Stopwatch since_start_;
  std::optional<ModelManager::Request> request_;
  Lease lease_;
  double load_s_ = 0;                             // until there was one
  std::unique_ptr<CallPreparation> preparation_;  // null: not yet, or done
  std::unique_ptr<AnswerReader> reader_;
  bool rendered_ = false;  // the prompt was all that was asked for
};

// Embeddings, one text after the other, so that others are served in between. `may_take`: of a WebRequest; asked for
// what inputs, tokens and vectors take. May be null.
//   Busy   it said no
Result<EmbedResult> embed(ModelManager& manager, const EmbedCall& call, const Asker& asker,
                          const std::function<bool(uint64_t bytes)>& may_take = {});

// Waits for a model. Cancelled when it is not wanted any more.
Result<Lease> acquire(ModelManager& manager, const std::string& name, std::optional<int64_t> n_ctx,
                      std::optional<double> keep_alive_s, const Asker& asker);

}  // namespace spillway
