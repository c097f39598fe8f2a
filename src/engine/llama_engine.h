// SPDX-License-Identifier: MIT
// The Engine on libllama: what is loaded, in which order it is taken down, and how a pass runs. Loading is in
// loader.cpp.
#pragma once

#include <atomic>
#include <functional>
#include <map>

#include "engine/adapters.h"
#include "engine/engine.h"
#include "engine/gate.h"
#include "engine/graph_walk.h"
#include "engine/live_budget.h"
#include "engine/llama_handles.h"
#include "engine/page_cache_look.h"
#include "engine/projector.h"
#include "engine/repacked_forms.h"
#include "engine/test_switches.h"
#include "engine/text_cuts.h"
#include "engine/worker_link.h"
#include "grammar/token_texts.h"
#include "layout/layout.h"
#include "model/projector_file.h"
#include "os/bus_guard.h"
#include "store/pinned_weights.h"
#include "store/weight_store.h"

namespace spillway {

// The weights that the host computes with, where they are our business: not those that libllama loads as it does
// without us, or leaves to the page cache.
struct HostWeightsInMemory {
  std::unique_ptr<WeightIndex> index;
  RepackedForms forms;
  Layout layout;
  std::unique_ptr<PinnedWeights> pinned;
  std::unique_ptr<WeightStore> store;  // null when nothing streams
  std::string heat_key;                // empty: the heat profile is not kept
};

struct EngineParts {
  LoadOptions options;
  TestSwitches test;
  GgufModel files;
  CheckedAdapters checked_adapters;
  std::optional<ProjectorFile> projector_file;
  std::vector<bool> on_device;  // [n_tensor]
  ModelInfo info;
  uint32_t n_ubatch_asked = 0;  // by the caller; options.n_ubatch becomes what there is
  MachineProfile machine;
  std::optional<Plan> plan;
  Kernels kernels = Kernels::kPlain;  // chosen
  uint32_t n_ctx_default = 0;         // see ModelInfo
  std::string n_ctx_why;
  uint64_t held_bytes = 0;  // of the budget, what other models of the process held before the load
  Placement placement;
  MemoryReport memory;
  DiskReport disk;
  std::unique_ptr<BusGuard> bus_guard;               // over the mapped files
  std::vector<std::shared_ptr<WorkerLink>> workers;  // go last: what libllama frees there is told to them
  LlamaModelPtr model;
  Adapters adapters;                     // part of the model
  std::unique_ptr<Projector> projector;  // null: the model sees nothing
  uint64_t projector_later_bytes = 0;    // of what was reserved for it, not in memory before an image is computed
  std::unique_ptr<HostWeightsInMemory> weights;
  std::unique_ptr<Gate> gate;  // null where nothing has to be asked about: a resident model, as a rule
  LlamaContextPtr context;     // goes first
  LlamaContextPtr embedder;    // made when embed() is first called
  std::unique_ptr<std::atomic<bool>> abort;
};

// Of files that stay in memory beside the model: adapters, and a projector with its buffers.
inline uint64_t beside_bytes(const EngineParts& parts) {
  return parts.checked_adapters.bytes() + (parts.projector_file ? parts.projector_file->need_bytes() : 0);
}

// In load_context.cpp: what the context's size decides of ModelInfo.
void describe_context(EngineParts& parts);

// In load_context.cpp: a context of options.n_ctx tokens, in place of the one there is. What it needs is counted before
// anything is taken.
//   OutOfBudget   no memory for it beside what is resident; what was there is kept
//   InvalidArgument   more tokens than any context has      Unavailable   a worker is lost
Result<void> make_context(EngineParts& parts);

// The same where it was counted already, or was there before.
Result<void> make_counted_context(EngineParts& parts);

// In load_context.cpp: what a context of `n_ctx` tokens (of each sequence where they do not share them) takes on the
// host, by the metadata. Layers on devices have theirs there.
//   InvalidArgument   more tokens than any context has
Result<uint64_t> context_need_bytes(const EngineParts& parts, uint64_t n_ctx);

// In load_context.cpp: whether `bytes` more are there, by what is resident of the process now, the budget, and what the
// machine and every cgroup above have left.
//   OutOfBudget   they are not; the message says what is
Result<void> check_memory_left(const EngineParts& parts, uint64_t bytes);

// In loader.cpp: whether everything that workers answered so far came from them.
//   Unavailable   one is lost
Result<void> check_workers(const EngineParts& parts);

class LlamaEngine : public Engine {
 public:
  explicit LlamaEngine(std::unique_ptr<EngineParts> parts);
  ~LlamaEngine() override;

  const ModelInfo& model() const override { return p_.info; }
  Result<void> check_usable() const override;
  Result<void> check_in_place() const override;
  const Placement& placement() const override { return p_.placement; }
  const Plan* plan() const override { return p_.plan ? &*p_.plan : nullptr; }
  void remember_speed(double decode_tok_per_s) override;
  MemoryReport memory() const override;
  Result<void> set_budget(uint64_t ram_bytes) override;
  DiskReport disk() const override { return p_.disk; }
  EngineStats stats() const override;
  Residency residency() const override;
  std::optional<uint64_t> page_cache_bytes() const override;
  void reset_stats() override;
  Result<double> measure_disk() override;
  Result<void> decode(std::span<const BatchToken> tokens) override;
  Result<void> encode(std::span<const BatchToken> tokens) override;
  Result<void> decode_image(const PromptImage& image, int32_t seq, int32_t pos) override;
  void abort() override { *p_.abort = true; }
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
  Result<ImagePrompt> look_at(const std::shared_ptr<const std::string>& file) const override;
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
  size_t tokens_at_once() const;
  bool is_disturbed() const;
  Result<void> run_part(std::span<const BatchToken> tokens, Kind kind);
  Result<void> compute(llama_context* context, std::span<const BatchToken> tokens, Kind kind);
  Result<std::vector<TokenId>> tokens_of_part(std::string_view text, bool add_special, bool parse_special) const;
  // `call` computes so many tokens in passes of libllama's, of which the gate was told the first, `n_first`.
  Result<void> watched(llama_context* context, size_t n_tokens, size_t n_first,
                       const std::function<Result<int32_t>()>& call);
  Result<void> check_image(const PromptImage& image, int32_t seq, int32_t pos) const;
  Result<void> reserve_for(const PromptImage& image);
  Result<int32_t> decode_encoded(const PromptImage& image, const Projector::Encoded& encoded, int32_t seq, int32_t pos,
                                 size_t n_at_once);
  const llama_vocab* vocab() const { return llama_model_get_vocab(p_.model.get()); }

  const std::unique_ptr<EngineParts> parts_;  // on the heap: the gate refers to its members
  EngineParts& p_;
  std::unique_ptr<LiveBudget> budget_;         // null: nothing to watch memory with
  std::unique_ptr<PageCacheLook> page_cache_;  // null: not left to it, or the kernel does not tell
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
  std::unique_ptr<const TextCuts> text_cuts_;      // null: no tokenizer
  std::atomic<bool> context_lost_ = false;         // neither a new context nor the old one could be made
  uint64_t passes_ = 0, tokens_ = 0;
  uint64_t major_faults_before_ = 0;
  uint64_t disk_probes_ = 0;
  uint64_t shrinks_before_ = 0, growths_before_ = 0;
};

}  // namespace spillway
