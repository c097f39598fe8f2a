// SPDX-License-Identifier: MIT
#include "engine/llama_sampler.h"

#include <cmath>
#include <vector>

#include "model/ggml_log.h"

namespace spillway {
namespace {

class ChainSampler : public Sampler {
 public:
  ChainSampler(const LlamaContextPtr& context, const llama_vocab* vocab, LlamaSamplerPtr chain,
               llama_sampler* penalties, LlamaSamplerPtr grammar)
      : context_(context),
        vocab_(vocab),
        chain_(std::move(chain)),
        penalties_(penalties),
        grammar_(std::move(grammar)) {}

  TokenId sample(int32_t i) override {
    if (grammar_ == nullptr) return llama_sampler_sample(chain_.get(), context_.get(), i);
    // A grammar over the whole vocabulary takes milliseconds. Mostly the model writes what it admits anyway: so choose
    // first, ask the grammar about that token alone, and only when it refuses choose again among what it admits.
    TokenId id = choose(i, false);
    if (!admits(id)) id = choose(i, true);
    llama_sampler_accept(grammar_.get(), id);
    llama_sampler_accept(chain_.get(), id);
    return id;
  }

  void accept(TokenId id) override {
    if (penalties_ != nullptr) llama_sampler_accept(penalties_, id);
  }

 private:
  TokenId choose(int32_t i, bool with_grammar) {
    const float* logits = llama_get_logits_ith(context_.get(), i);
    candidates_.resize(static_cast<size_t>(llama_vocab_n_tokens(vocab_)));
    for (size_t id = 0; id < candidates_.size(); ++id) candidates_[id] = {static_cast<TokenId>(id), logits[id], 0.0f};
    llama_token_data_array array{candidates_.data(), candidates_.size(), -1, false};
    if (with_grammar) llama_sampler_apply(grammar_.get(), &array);
    llama_sampler_apply(chain_.get(), &array);
    return array.data[array.selected >= 0 ? array.selected : 0].id;
  }

  bool admits(TokenId id) {
    llama_token_data one{id, 1.0f, 0.0f};
    llama_token_data_array array{&one, 1, -1, false};
    llama_sampler_apply(grammar_.get(), &array);
    return !std::isinf(one.logit);
  }

  const LlamaContextPtr& context_;
  const llama_vocab* const vocab_;
  const LlamaSamplerPtr chain_;
  llama_sampler* const penalties_;  // in the chain; null: none
  const LlamaSamplerPtr grammar_;   // null: none
  std::vector<llama_token_data> candidates_;
};

}  // namespace

std::unique_ptr<Sampler> make_llama_sampler(const LlamaContextPtr& context, const llama_vocab* vocab,
                                            const SamplingOptions& o) {
  LlamaSamplerPtr grammar;
  if (!o.grammar.empty()) {
    const GgmlErrorCapture log;  // what is wrong with it is printed otherwise
    grammar.reset(llama_sampler_init_grammar(vocab, o.grammar.c_str(), "root"));
    if (grammar == nullptr) return nullptr;
  }
  LlamaSamplerPtr chain(llama_sampler_chain_init(llama_sampler_chain_default_params()));
  const auto add = [&](llama_sampler* sampler) { llama_sampler_chain_add(chain.get(), sampler); };
  const int32_t n_vocab = llama_vocab_n_tokens(vocab);
  if (!o.logit_bias.empty()) {
    std::vector<llama_logit_bias> biases;
    for (const auto& [id, bias] : o.logit_bias) biases.push_back({id, bias});
    add(llama_sampler_init_logit_bias(n_vocab, static_cast<int32_t>(biases.size()), biases.data()));
  }
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
  return std::make_unique<ChainSampler>(context, vocab, std::move(chain), penalties, std::move(grammar));
}

}  // namespace spillway
