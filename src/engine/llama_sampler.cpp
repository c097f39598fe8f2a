// SPDX-License-Identifier: MIT
#include "engine/llama_sampler.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "base/check.h"
#include "base/numbers.h"
#include "engine/logit_biases.h"
#include "grammar/token_grammar.h"

namespace spillway {
namespace {

class ChainSampler : public Sampler {
 public:
  ChainSampler(const LlamaContextPtr& context, const llama_vocab* vocab, LogitBiases biases, LlamaSamplerPtr chain,
               llama_sampler* penalties, std::optional<TokenGrammar> grammar)
      : context_(context),
        vocab_(vocab),
        biases_(std::move(biases)),
        chain_(std::move(chain)),
        penalties_(penalties),
        grammar_(std::move(grammar)) {}

  Result<TokenId> sample(int32_t i) override {
    const float* logits = llama_get_logits_ith(context_.get(), i);
    CHECK(logits != nullptr);  // the caller asked for them
    if (!are_logits({logits, static_cast<size_t>(llama_vocab_n_tokens(vocab_))})) return no_numbers();
    TokenId id = choose(i, nullptr);
    if (grammar_) {
      // Asking the grammar about the whole vocabulary takes milliseconds, and mostly the model writes what it admits
      // anyway: so that token alone is asked about, and only when it is refused another one is chosen of the admitted.
      ASSIGN_OR_RETURN(const bool admitted, admits(id));
      if (!admitted) {
        ASSIGN_OR_RETURN(id, choose_among_admitted(i));
      }
      if (!ends(id)) RETURN_IF_ERROR(grammar_->accept(id));
    }
    llama_sampler_accept(chain_.get(), id);
    return id;
  }

  void accept(TokenId id) override {
    if (penalties_ != nullptr) llama_sampler_accept(penalties_, id);
  }

 private:
  bool ends(TokenId id) const { return llama_vocab_is_eog(vocab_, id); }

  Result<bool> admits(TokenId id) { return ends(id) ? grammar_->may_end() : grammar_->admits(id); }

  Result<TokenId> choose_among_admitted(int32_t i) {
    ASSIGN_OR_RETURN(const bool may_end, grammar_->may_end());
    ASSIGN_OR_RETURN(const std::vector<bool>* tokens, grammar_->admitted());
    std::vector<bool> admitted = *tokens;
    for (size_t id = 0; id < admitted.size(); ++id)
      if (ends(static_cast<TokenId>(id))) admitted[id] = may_end;
    if (std::find(admitted.begin(), admitted.end(), true) == admitted.end())
      return error(Code::kInvalidArgument, "the grammar admits no token that this model could go on with");
    return choose(i, &admitted);
  }

  // Among `admitted`; null: among all.
  TokenId choose(int32_t i, const std::vector<bool>* admitted) {
    const float* logits = llama_get_logits_ith(context_.get(), i);
    candidates_.clear();
    for (TokenId id = 0; id < llama_vocab_n_tokens(vocab_); ++id)
      if (admitted == nullptr || (*admitted)[static_cast<size_t>(id)]) candidates_.push_back({id, logits[id], 0.0f});
    biases_.add_to(candidates_);
    llama_token_data_array array{candidates_.data(), candidates_.size(), -1, false};
    llama_sampler_apply(chain_.get(), &array);
    return array.data[array.selected >= 0 ? array.selected : 0].id;
  }

  const LlamaContextPtr& context_;
  const llama_vocab* const vocab_;
  const LogitBiases biases_;
  const LlamaSamplerPtr chain_;
  llama_sampler* const penalties_;       // in the chain; null: none
  std::optional<TokenGrammar> grammar_;  // nullopt: none
  std::vector<llama_token_data> candidates_;
};

}  // namespace

std::unique_ptr<Sampler> make_llama_sampler(const LlamaContextPtr& context, const llama_vocab* vocab,
                                            std::shared_ptr<const TokenTexts> texts, const SamplingOptions& o) {
  std::optional<TokenGrammar> grammar;
  if (o.grammar != nullptr) grammar.emplace(o.grammar, std::move(texts));
  LlamaSamplerPtr chain(llama_sampler_chain_init(llama_sampler_chain_default_params()));
  const auto add = [&](llama_sampler* sampler) { llama_sampler_chain_add(chain.get(), sampler); };
  const int32_t n_vocab = llama_vocab_n_tokens(vocab);
  // llama.cpp's own order: penalties, top-k, typical-p, top-p, min-p, temperature.
  llama_sampler* penalties = nullptr;
  if (o.repeat_penalty != 1.0f || o.frequency_penalty != 0.0f || o.presence_penalty != 0.0f)
    add(penalties = llama_sampler_init_penalties(n_vocab, o.repeat_last_n, o.repeat_penalty, o.frequency_penalty,
                                                 o.presence_penalty));
  if (o.temp <= 0) {
    add(llama_sampler_init_greedy());
  } else {
    add(llama_sampler_init_top_k(o.top_k));
    if (o.typical_p < 1.0f) add(llama_sampler_init_typical(o.typical_p, 1));
    add(llama_sampler_init_top_p(o.top_p, 1));
    add(llama_sampler_init_min_p(o.min_p, 1));
    add(llama_sampler_init_temp(o.temp));
    add(llama_sampler_init_dist(o.seed));
  }
  return std::make_unique<ChainSampler>(context, vocab, LogitBiases(o.logit_bias), std::move(chain), penalties,
                                        std::move(grammar));
}

}  // namespace spillway
