// SPDX-License-Identifier: MIT
// The Engine on libllama: how a pass runs, and in which order things are taken down. Loading is in loader.cpp.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/llama_handles.h"
#include "engine/engine.h"
#include "engine/engine_model.h"
#include "engine/live_budget.h"
#include "engine/load_steps.h"
#include "engine/long_runs.h"
#include "engine/page_cache_sampler.h"
#include "engine/projector.h"
#include "engine/text_cuts.h"
#include "engine/unknown_characters.h"
#include "grammar/token_texts.h"

namespace spillway {

class LlamaEngine : public Engine {
 public:
  explicit LlamaEngine(Loaded loaded);
  ~LlamaEngine() override;

  const ModelInfo& model() const override { return info_; }
  Result<void> check_usable() const override;
  Result<void> check_in_place() const override;
  const Placement& placement() const override { return model_->placement; }
  const Plan* plan() const override { return model_->decision.plan ? &*model_->decision.plan : nullptr; }
  void remember_speed(double decode_tok_per_s) override;
  MemoryReport memory() const override;
  Result<void> set_budget(uint64_t ram_bytes) override;
  DiskReport disk() const override { return disk_; }
  EngineStats stats() const override;
  Residency residency() const override;
  std::optional<uint64_t> page_cache_bytes() const override;
  void reset_stats() override;
  Result<double> measure_disk() override;
  Result<void> decode(std::span<const BatchToken> tokens) override;
  Result<void> encode(std::span<const BatchToken> tokens) override;
  Result<void> decode_image(const PromptImage& image, int32_t seq, int32_t pos) override;
  void abort() override { *context_.abort = true; }
  std::span<const float> logits(int32_t i) const override;
  std::span<const float> embeddings(int32_t i) const override;
  size_t pass_tokens_max() const override;
  size_t pass_outputs_max() const override;
  HeldTokens held(int32_t seq) const override;
  size_t cut(int32_t seq, size_t n_tokens) override;
  size_t state_bytes(int32_t seq, StatePart part) override;
  std::string save_state(int32_t seq, StatePart part) override;
  Result<void> save_state_file(int32_t seq, const std::string& path, std::span<const TokenId> tokens) override;
  Result<void> restore_state(int32_t seq, std::string_view state, StatePart part, size_t n_tokens) override;
  Result<void> restore_state_file(int32_t seq, const std::string& path, size_t n_tokens) override;
  Result<std::vector<float>> embed(std::span<const TokenId> tokens) override;
  Result<void> resize_context(uint32_t n_ctx) override;
  std::unique_ptr<Sampler> make_sampler(const SamplingOptions& options) override;
  Result<std::vector<TokenId>> tokenize(const std::string& text, bool add_special, bool parse_special) const override;
  Result<ImagePrompt> inspect_image(const std::shared_ptr<const std::string>& file) const override;
  std::string token_text(TokenId id, bool special) const override;
  bool ends_generation(TokenId id) const override;
  Result<std::vector<TokenId>> infill_tokens(const std::string& prefix, const std::string& suffix) const override;
  Result<std::vector<TokenId>> pair_tokens(const std::string& query, const std::string& text) const override;
  TokenId decoder_start_token() const override;
  void set_node_observer(NodeObserver observer) override;

 private:
  enum class Kind { kDecode, kEncode };
  // Of the budget, taken since the load by what is not weights.
  struct Reserved {
    uint64_t context_bytes = 0;   // that a larger context needs more than the one of the load
    uint64_t embedder_bytes = 0;  // of the context for embeddings
  };
  Result<void> reserve(const Reserved& reserved);
  Result<void> make_embedder(size_t n_tokens);
  size_t pass_tokens_fitting() const;
  Result<void> check_tokens(std::span<const BatchToken> tokens) const;
  Result<void> run(std::span<const BatchToken> tokens, Kind kind);
  // `why` a pass failed, or that it was stopped for the sake of others.
  Failure why_failed(const Status& why) const;
  size_t tokens_at_once() const;
  bool is_disturbed() const;
  Result<void> compute(llama_context* context, std::span<const BatchToken> tokens, Kind kind);
  Result<std::vector<TokenId>> tokens_of_part(std::string_view text, bool add_special, bool parse_special) const;
  // `call` computes so many tokens in passes of libllama's, of which the gate was told the first, `n_first`.
  Result<void> watched(llama_context* context, size_t n_tokens, size_t n_first,
                       const std::function<Result<int32_t>()>& call);
  Result<void> check_image(const PromptImage& image, int32_t seq, int32_t pos) const;
  Result<void> reserve_for(const PromptImage& image);
  Result<int32_t> decode_encoded(const PromptImage& image, const Projector::Encoded& encoded, int32_t seq, int32_t pos,
                                 size_t n_at_once);
  const LoadRequest& request() const { return model_->mapped->request; }
  const LoadOptions& options() const { return request().options; }
  const GgufModel& gguf() const { return request().gguf; }
  llama_model* llama() const { return model_->mapped->llama.get(); }
  const llama_vocab* vocab() const { return llama_model_get_vocab(llama()); }
  WeightStore* store() const { return model_->weights != nullptr ? model_->weights->store.get() : nullptr; }

  std::unique_ptr<const EngineModel> model_;
  EngineContext context_;
  LlamaContextPtr embedder_;  // made when embed() is first called
  bool has_rehearsed_embedding_ = false;
  ModelInfo info_;
  DiskReport disk_;
  std::unique_ptr<LiveBudget> budget_;            // null: nothing to watch memory with
  std::unique_ptr<PageCacheSampler> page_cache_;  // null: not left to it, or the kernel does not tell
  Reserved reserved_;
  uint64_t reserved_bytes_ = 0;          // all that is reserved
  uint64_t projector_growth_bytes_ = 0;  // of the budget, taken for an image that is larger than was made ready for
  // Sequences that end with an image whose positions have two dimensions: libllama keeps the first of them alone.
  struct ImageEnd {
    llama_pos last_pos = -1;
    size_t n = 0;
  };
  std::map<int32_t, ImageEnd> image_ends_;
  std::shared_ptr<const TokenTexts> token_texts_;  // for grammars, shared by their samplers; null until one is used
  std::unique_ptr<const UnknownCharacters> unknown_characters_;  // null: no tokenizer
  std::unique_ptr<const TextCuts> text_cuts_;                    // null: no tokenizer
  LongRuns slow_runs_ = LongRuns::kHarmless;                     // to this model's tokenizer
  std::atomic<bool> context_lost_ = false;                       // neither a new context nor the old one could be made
  uint64_t passes_ = 0, tokens_ = 0;
  uint64_t major_faults_before_ = 0;
  uint64_t disk_probes_ = 0;
  uint64_t shrinks_before_ = 0, growths_before_ = 0;
};

}  // namespace spillway
