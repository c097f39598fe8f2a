// SPDX-License-Identifier: MIT
#include "engine/llama_engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <initializer_list>
#include <map>
#include <new>

#include "backend/llama_call.h"
#include "base/clock.h"
#include "base/notice.h"
#include "base/numbers.h"
#include "base/saturating_sub.h"
#include "engine/cache_params.h"
#include "engine/correction_store.h"
#include "engine/embedding_rehearsal.h"
#include "engine/llama_sampler.h"
#include "engine/load_context.h"
#include "engine/long_runs.h"
#include "engine/sampling_limits.h"
#include "hw/disk_probe.h"
#include "hw/timed_reads.h"
#include "model/ggml_log.h"
#include "os/machine.h"
#include "os/memory.h"
#include "plan/model_need.h"
#include "probe/quick_probe.h"
#include "store/heat_profile.h"

namespace spillway {
namespace {

// Bytes read to measure the disk once: a tenth of a second on a slow one.
constexpr uint64_t kDiskMeasureBytes = 256 * MiB;
// Contexts for embeddings are made for so many tokens at least, and by powers of two, so that few are made.
constexpr size_t kEmbedTokensMin = 128;

// Private writable address space that came since.
uint64_t grown_bytes_since(uint64_t data_bytes_before) {
  const uint64_t now = process_usage().data_bytes;
  return saturating_sub(now, data_bytes_before);
}

BudgetedWeights budgeted(const EngineModel& model, const EngineContext& context) {
  BudgetedWeights weights{.memory = model.memory,
                          .is_watched = model.placement.mode != Mode::kMmap,
                          .reader = model.mapped->request.options.reader,
                          .abort = context.abort.get()};
  if (model.weights == nullptr || model.weights->store == nullptr) return weights;
  weights.layout = &model.weights->layout;
  weights.pinned = model.weights->pinned.get();
  weights.store = model.weights->store.get();
  return weights;
}

// Drivers of devices throw when theirs is reset or unplugged.
Result<int32_t> call_libllama(llama_context* context, const llama_batch& batch, bool encode) {
  try {
    const int32_t result = encode ? llama_encode(context, batch) : llama_decode(context, batch);
    llama_synchronize(context);
    return result;
  } catch (const std::exception& e) {
    return error(Code::kInternal,
                 fmt::format("a device failed ({}); load the model again, or with --gpu-layers 0", one_line(e.what())));
  }
}

// Below this the square of the special tokens is nothing (16,000 of them take 0.3 s, 2,000 a few milliseconds).
constexpr size_t kLongTextBytes = 16u << 10;
constexpr size_t kTextPartBytes = 2u << 10;

// Those at which libllama divides a text, by the same rule.
std::vector<SpecialText> special_texts(const llama_vocab* vocab) {
  std::vector<SpecialText> all;
  constexpr unsigned kHidden = LLAMA_TOKEN_ATTR_CONTROL | LLAMA_TOKEN_ATTR_UNKNOWN;
  constexpr unsigned kStrips = LLAMA_TOKEN_ATTR_LSTRIP | LLAMA_TOKEN_ATTR_RSTRIP;
  for (TokenId id = 0; id < llama_vocab_n_tokens(vocab); ++id) {
    const auto attributes = static_cast<unsigned>(llama_vocab_get_attr(vocab, id));
    if ((attributes & (kHidden | LLAMA_TOKEN_ATTR_USER_DEFINED)) != 0)
      all.push_back({llama_vocab_get_text(vocab, id), (attributes & kHidden) != 0, (attributes & kStrips) != 0});
  }
  return all;
}

std::string pre_tokenizer(const llama_model* model) {
  char name[64] = "";
  (void)llama_model_meta_val_str(model, "tokenizer.ggml.pre", name, sizeof(name));  // without one it stays empty
  return name;
}

}  // namespace

LlamaEngine::LlamaEngine(Loaded loaded)
    : model_(std::make_unique<const EngineModel>(std::move(loaded.model))),
      context_(std::move(loaded.context)),
      info_(std::move(loaded.info)),
      disk_(model_->measured.disk) {
  if (info_.has_tokenizer) {
    text_cuts_ = std::make_unique<TextCuts>(special_texts(vocab()));
    unknown_characters_ = std::make_unique<UnknownCharacters>(vocab());
  }
  slow_runs_ = slow_runs_of(pre_tokenizer(llama()));
  auto budget = LiveBudget::start(budgeted(*model_, context_));
  if (budget)
    budget_ = std::move(*budget);
  else
    notice(fmt::format("memory is not watched: {}", budget.error().message()));
  if (model_->placement.mode == Mode::kMmap) page_cache_ = PageCacheSampler::open(gguf());
  reset_stats();
}

LlamaEngine::~LlamaEngine() {
  budget_.reset();
  try {
    if (store() != nullptr && !model_->weights->heat_key.empty())
      (void)save_heat(model_->weights->heat_key, store()->heat());
  } catch (const std::bad_alloc&) {  // lost, as where it cannot be written, it costs some reads next time, no more
  }
  embedder_.reset();
  context_.llama.reset();
  context_.gate.reset();
  model_.reset();
  give_back_freed_memory();  // or the next model's need would be measured with it (20 MB after one of 75)
}

Result<void> LlamaEngine::check_usable() const {
  RETURN_IF_ERROR(model_->mapped->check_workers());
  if (context_lost_)
    return error(Code::kUnavailable, "there was no memory left for a context: the model has to be loaded again");
  if (store() != nullptr) RETURN_IF_ERROR(store()->check());
  for (const auto& file : gguf().files) RETURN_IF_ERROR(file->check_unchanged());
  return {};
}

Result<void> LlamaEngine::check_in_place() const {
  for (const auto& file : gguf().files) RETURN_IF_ERROR(file->check_in_place());
  return {};
}

EngineStats LlamaEngine::stats() const {
  EngineStats stats;
  stats.passes = passes_;
  stats.tokens = tokens_;
  stats.major_faults = process_usage().major_faults - major_faults_before_;
  if (budget_ != nullptr) {
    const LiveBudget::State budget = budget_->state();
    stats.shrinks = budget.shrinks - shrinks_before_;
    stats.growths = budget.growths - growths_before_;
  }
  if (context_.gate != nullptr) stats.ungated = context_.gate->ungated();
  if (store() == nullptr) return stats;
  const StoreStats streamed = store()->stats();
  stats.bytes_read = streamed.bytes_read;
  stats.hits = streamed.expert_hits;
  stats.misses = streamed.expert_misses;
  stats.disk_wait_s = streamed.wait_s;
  stats.reader_busy_s = streamed.reader_busy_s;
  stats.streaming_cpu_s = streamed.reader_cpu_s + streamed.caller_cpu_s;
  stats.place_cpu_s = streamed.place_cpu_s;
  return stats;
}

// Reads what is constant after loading, and the cache, which has a lock of its own.
Residency LlamaEngine::residency() const {
  const bool in_page_cache = model_->placement.mode == Mode::kMmap;
  if (in_page_cache && page_cache_ == nullptr) return {.n_expert = 0, .layers = {}, .page_cache = true};
  const WeightStore* streamed = store();
  const auto resident = streamed != nullptr ? streamed->resident() : std::vector<bool>{};
  const auto heat = streamed != nullptr ? streamed->heat() : std::vector<double>{};
  ResidencyInput input{
      .model = gguf(), .on_device = model_->decision.on_device, .first_extent = {}, .resident = resident, .heat = heat};
  if (streamed != nullptr) input.first_extent = model_->weights->layout.first_extent;
  if (in_page_cache)
    input.held_bytes = [this](const TensorInfo& tensor, uint32_t slice) {
      return page_cache_->slice_bytes(tensor, slice);
    };
  return residency_of(input);
}

std::optional<uint64_t> LlamaEngine::page_cache_bytes() const {
  if (page_cache_ == nullptr) return std::nullopt;
  return page_cache_->bytes(gguf(), model_->decision.on_device);
}

void LlamaEngine::reset_stats() {
  passes_ = tokens_ = 0;
  major_faults_before_ = process_usage().major_faults;
  if (budget_ != nullptr) {
    shrinks_before_ = budget_->state().shrinks;
    growths_before_ = budget_->state().growths;
  }
  if (context_.gate != nullptr) context_.gate->reset_stats();
  if (store() != nullptr) store()->reset_stats();
}

// Others pressed, or the budget is another one: the plan was made for something else.
bool LlamaEngine::is_disturbed() const {
  if (budget_ == nullptr) return false;
  const LiveBudget::State now = budget_->state();
  return now.shrinks > 0 || now.reserved_bytes > 0 || now.budget_bytes != model_->memory.budget_bytes;
}

void LlamaEngine::remember_speed(double decode_tok_per_s) {
  const std::optional<Plan>& plan = model_->decision.plan;
  const MemoryReport& memory = model_->memory;
  const double predicted_tok_per_s = model_->placement.predicted_tok_per_s;
  if (is_disturbed() || !plan || !options().keep_heat || predicted_tok_per_s <= 0) return;
  if (plan->mode == Mode::kMmap &&
      cache_exceeds_budget(memory.weight_bytes, memory.budget_bytes, memory_state().available_bytes))
    return;
  // What is kept is what the planner would say without corrections, or one would be corrected by another.
  (void)remember_run({.model = model_key(gguf()),  // not kept: the next plan is no worse than this one
                      .machine = model_->measured.machine.fingerprint,
                      .mode = corrected_mode(plan->name, plan->kernels),
                      .memory_bytes = memory.budget_bytes,
                      .predicted_tok_per_s = predicted_tok_per_s / plan->prediction.correction,
                      .measured_tok_per_s = decode_tok_per_s,
                      .unix_s = unix_s()});
}

MemoryReport LlamaEngine::memory() const {
  MemoryReport memory = model_->memory;
  memory.pool_now_bytes = memory.pool_bytes;
  if (budget_ == nullptr) return memory;
  const LiveBudget::State now = budget_->state();
  memory.budget_bytes = now.budget_bytes;
  memory.pool_now_bytes = now.pool_bytes;
  memory.unpinned_bytes = now.unpinned_bytes;
  memory.other_bytes += now.reserved_bytes;
  return memory;
}

Result<void> LlamaEngine::set_budget(uint64_t ram_bytes) {
  if (budget_ == nullptr)
    return error(Code::kUnsupported, "the weights do not stream: their memory is not ours to change");
  return budget_->set_budget(ram_bytes);
}

Result<double> LlamaEngine::measure_disk() {
  const File& largest = largest_file(gguf());
  if (disk_.depth == 0) return error(Code::kUnsupported, "the disk was not probed in this mode");
  ASSIGN_OR_RETURN(
      const auto queue,
      open_io_queue(disk_.io_queue == "threads" ? IoQueueKind::kThreads : IoQueueKind::kBest, disk_.depth));
  const uint64_t free_bytes = saturating_sub(model_->memory.budget_bytes, process_usage().rss_bytes);
  ASSIGN_OR_RETURN(const Region memory, read_memory(read_memory_bytes(disk_.depth, disk_.read_bytes, free_bytes)));
  ++disk_probes_;
  ASSIGN_OR_RETURN(disk_.disk_bytes_per_s,
                   measure_disk_bytes_per_s(largest, *queue, disk_.read_bytes, kDiskMeasureBytes,
                                            disk_probes_ * largest.size_bytes() / 7, memory));
  return disk_.disk_bytes_per_s;
}

Result<void> LlamaEngine::check_tokens(std::span<const BatchToken> tokens) const {
  if (tokens.empty()) return error(Code::kInvalidArgument, "nothing to compute: the prompt is empty");
  RETURN_IF_ERROR(check_usable());
  for (const BatchToken& token : tokens) {
    if (token.id < 0 || token.id >= info_.n_vocab)
      return error(Code::kInvalidArgument,
                   fmt::format("token id {} is outside the vocabulary of {} tokens", token.id, info_.n_vocab));
    if (token.pos < 0 || static_cast<uint32_t>(token.pos) >= info_.n_ctx)
      return error(Code::kInvalidArgument,
                   fmt::format("the context of {} tokens is full; raise --context", info_.n_ctx));
    if (token.seq < 0 || static_cast<uint32_t>(token.seq) >= options().n_seq_max)
      return error(Code::kInvalidArgument, fmt::format("sequence {} of {}", token.seq, options().n_seq_max));
  }
  return {};
}

Result<void> LlamaEngine::decode(std::span<const BatchToken> tokens) {
  if (!info_.has_decoder) return encode(tokens);
  RETURN_IF_ERROR(check_tokens(tokens));
  return run(tokens, Kind::kDecode);
}

Result<void> LlamaEngine::encode(std::span<const BatchToken> tokens) {
  RETURN_IF_ERROR(check_tokens(tokens));
  // libllama asserts where it could say no.
  if (tokens.size() > context_.shape.n_ubatch)
    return error(Code::kInvalidArgument,
                 fmt::format("this model takes {} tokens at once and was given {}; raise --ubatch",
                             context_.shape.n_ubatch, tokens.size()));
  return run(tokens, Kind::kEncode);
}

Result<void> LlamaEngine::run(std::span<const BatchToken> tokens, Kind kind) {
  *context_.abort = false;
  // Outputs stay valid only until the next llama_decode, so a batch whose logits are wanted throughout is not cut.
  const auto n_outputs = std::count_if(tokens.begin(), tokens.end(), [](const BatchToken& t) { return t.want_logits; });
  const bool may_be_cut = kind == Kind::kDecode && (n_outputs == 0 || (n_outputs == 1 && tokens.back().want_logits));
  if (!may_be_cut && tokens.size() > context_.shape.n_batch)
    return error(Code::kInvalidArgument,
                 fmt::format("a batch of {} tokens, at most {}", tokens.size(), context_.shape.n_batch));
  size_t part = 0;
  for (size_t at = 0; at < tokens.size(); at += part) {
    part = std::min(may_be_cut ? tokens_at_once() : tokens.size(), tokens.size() - at);
    tl::expected<void, Status> outcome{};
    if (budget_ != nullptr) outcome = budget_->check();
    if (outcome) {
      outcome = compute(context_.llama.get(), tokens.subspan(at, part), kind);
      if (!outcome) outcome = why_failed(outcome.error());
    }
    if (outcome) continue;
    // What the failed pass left in the context is not to be built on.
    std::map<int32_t, int32_t> first_pos;
    for (const BatchToken& token : tokens) {
      const auto [first, is_new] = first_pos.emplace(token.seq, token.pos);
      if (!is_new) first->second = std::min(first->second, token.pos);
    }
    for (const auto& [seq, pos] : first_pos) cut(seq, static_cast<size_t>(pos));
    return outcome;
  }
  return {};
}

Failure LlamaEngine::why_failed(const Status& why) const {
  if (why.code() == Code::kCancelled && budget_ != nullptr) RETURN_IF_ERROR(budget_->check());
  return Failure(why);
}

// A streamed mixture of experts takes fewer tokens in one pass: one layer's experts have to fit the slots there are
// now.
size_t LlamaEngine::pass_tokens_fitting() const {
  const size_t fitting = context_.gate != nullptr ? context_.gate->pass_tokens_max() : 0;
  return fitting > 0 ? fitting : SIZE_MAX;
}

// As many as n_batch, or fewer.
size_t LlamaEngine::tokens_at_once() const { return std::min<size_t>(pass_tokens_fitting(), context_.shape.n_batch); }

Result<void> LlamaEngine::compute(llama_context* context, std::span<const BatchToken> tokens, Kind kind) {
  const size_t n_most = kind == Kind::kEncode ? llama_n_ubatch(context) : llama_n_batch(context);
  if (tokens.size() > n_most)  // libllama would end the process
    return error(Code::kInternal, fmt::format("{} tokens in a pass that takes {}", tokens.size(), n_most));
  llama_batch batch = llama_batch_init(static_cast<int32_t>(tokens.size()), 0, 1);
  const std::unique_ptr<llama_batch, void (*)(llama_batch*)> owner(&batch,
                                                                   [](llama_batch* b) { llama_batch_free(*b); });
  batch.n_tokens = static_cast<int32_t>(tokens.size());
  for (size_t i = 0; i < tokens.size(); ++i) {
    batch.token[i] = tokens[i].id;
    batch.pos[i] = tokens[i].pos;
    batch.n_seq_id[i] = 1;
    batch.seq_id[i][0] = tokens[i].seq;
    batch.logits[i] = tokens[i].want_logits;
  }
  return watched(context, tokens.size(), tokens.size(),
                 [&] { return call_libllama(context, batch, kind == Kind::kEncode); });
}

Result<void> LlamaEngine::watched(llama_context* context, size_t n_tokens, size_t n_first,
                                  const std::function<Result<int32_t>()>& call) {
  RETURN_IF_ERROR(model_->mapped->check_workers());
  for (const auto& file : gguf().files) RETURN_IF_ERROR(file->check_unchanged());
  const uint64_t lost_before = BusGuard::lost_touches();
  Gate* gate = context_.gate.get();
  GgmlErrorCapture log;
  if (gate != nullptr) gate->begin_pass(n_first, llama_n_ubatch(context));
  const Result<int32_t> result = call();
  ++passes_;
  tokens_ += n_tokens;
  // In this order: a worker that is lost or a read that failed explains whatever libllama made of it.
  Result<void> gated;
  if (gate != nullptr) gated = gate->end_pass();
  RETURN_IF_ERROR(model_->mapped->check_workers());
  RETURN_IF_ERROR(gated);
  if (context_.abort->load()) return error(Code::kCancelled, "stopped");
  if (BusGuard::lost_touches() != lost_before)
    return error(Code::kChanged, fmt::format("{}: the file shrank while in use; load the model again", info_.path));
  for (const auto& file : gguf().files) RETURN_IF_ERROR(file->check_unchanged());
  RETURN_IF_ERROR(result);
  if (*result == 1) return error(Code::kOutOfBudget, "the context is full; raise --context");
  if (*result != 0)
    return model_->mapped->blame(
        {Code::kInternal, fmt::format("libllama could not compute the batch ({}){}{}", *result,
                                      log.first_error().empty() ? "" : ": ", log.first_error())});
  return {};
}

std::span<const float> LlamaEngine::logits(int32_t i) const {
  GgmlErrorCapture log;
  const float* data = llama_get_logits_ith(context_.llama.get(), i);
  return data == nullptr ? std::span<const float>() : std::span(data, static_cast<size_t>(info_.n_vocab));
}

std::span<const float> LlamaEngine::embeddings(int32_t i) const {
  GgmlErrorCapture log;
  llama_context* context = context_.llama.get();
  // Where they are pooled, no token has one of its own: libllama gives zeros then.
  const bool pooled = llama_pooling_type(context) != LLAMA_POOLING_TYPE_NONE;
  const float* data = pooled ? llama_get_embeddings_seq(context, 0) : llama_get_embeddings_ith(context, i);
  if (data == nullptr) return {};
  return {data, pooled && info_.n_scores > 0 ? info_.n_scores : static_cast<size_t>(llama_model_n_embd_out(llama()))};
}

size_t LlamaEngine::pass_outputs_max() const { return std::max({context_.shape.n_outputs, options().n_seq_max, 1u}); }

size_t LlamaEngine::pass_tokens_max() const { return std::min<size_t>(context_.shape.n_ubatch, pass_tokens_fitting()); }

std::unique_ptr<Sampler> LlamaEngine::make_sampler(const SamplingOptions& options) {
  if (options.grammar != nullptr && token_texts_ == nullptr) {
    std::vector<std::string> texts;
    texts.reserve(static_cast<size_t>(info_.n_vocab));
    for (TokenId id = 0; id < info_.n_vocab; ++id) texts.push_back(token_text(id, true));
    token_texts_ = std::make_shared<const TokenTexts>(std::move(texts));
  }
  return make_llama_sampler(context_.llama, vocab(), token_texts_, within_limits(options));
}

// A context for texts of up to `n_tokens`, in place of a smaller one. One text at a time, all of it in one pass:
// pooling needs every token.
Result<void> LlamaEngine::make_embedder(size_t n_tokens) {
  // libllama rounds the context up, but not what it takes in one pass.
  if (embedder_ != nullptr && std::min(llama_n_batch(embedder_.get()), llama_n_ubatch(embedder_.get())) >= n_tokens)
    return {};
  const uint64_t n_train = info_.n_ctx_train > 0 ? info_.n_ctx_train : info_.n_ctx;
  const auto n = static_cast<uint32_t>(
      std::min<uint64_t>({std::bit_ceil(std::max(n_tokens, kEmbedTokensMin)), n_train, info_.n_ctx}));
  embedder_.reset();
  ASSIGN_OR_RETURN(const ModelNeed need, model_need(gguf(), {.n_ctx = n,
                                                             .n_seq = 1,
                                                             .n_ubatch = n,
                                                             .n_outputs = 1,
                                                             .cache = options().cache,
                                                             .adapter_bytes = request().adapters.bytes()}));
  const uint64_t need_bytes = need.context_bytes();
  const auto refused = [this, n](const Status& why) {
    if (why.code() != Code::kOutOfBudget && why.code() != Code::kBusy) return Failure(why);
    const bool shorter_helps = why.code() == Code::kOutOfBudget && n > kEmbedTokensMin;
    const char* what_helps = why.code() == Code::kBusy ? ""
                             : shorter_helps           ? "; a shorter text needs less"
                                                       : "; raise --ram, or load it with a smaller context";
    return error(
        shorter_helps ? Code::kContextOverflow : why.code(),
        fmt::format("no room for a context for embeddings of {} tokens beside the one of {} that the model was "
                    "loaded with: {}{}",
                    n, info_.n_ctx, why.message(), what_helps));
  };
  if (auto room = reserve({.context_bytes = reserved_.context_bytes, .embedder_bytes = need_bytes}); !room) {
    (void)reserve({.context_bytes = reserved_.context_bytes});  // less than before
    return refused(room.error());
  }
  llama_context_params params = llama_context_default_params();
  params.n_ctx = params.n_batch = params.n_ubatch = n;
  params.n_threads = params.n_threads_batch = static_cast<int32_t>(options().n_threads);
  params.embeddings = true;
  // Where the tokens are not pooled, the last one's output is the text's: the same bits, and libllama leaves out the
  // logits of them all (of a vocabulary of 262,144 and 128 tokens 250 MiB).
  if (llama_pooling_type(context_.llama.get()) == LLAMA_POOLING_TYPE_NONE)
    params.pooling_type = LLAMA_POOLING_TYPE_LAST;
  params.op_offload = false;
  set_cache_format(options().cache, params);
  params.no_perf = true;
  params.abort_callback = [](void* flag) { return static_cast<const std::atomic<bool>*>(flag)->load(); };
  params.abort_callback_data = context_.abort.get();
  GgmlErrorCapture log;
  if (!has_rehearsed_embedding_)
    if (auto rehearsed = rehearse_embedding(llama(), params, !info_.has_decoder); !rehearsed) {
      (void)reserve({.context_bytes = reserved_.context_bytes});
      RETURN_IF_ERROR(model_->mapped->check_workers());  // one that is lost explains whatever libllama made of it
      return rehearsed;
    }
  has_rehearsed_embedding_ = true;
  if (context_.gate != nullptr) {
    params.cb_eval = Gate::on_node;
    params.cb_eval_user_data = context_.gate.get();
  }
  const uint64_t data_bytes_before = process_usage().data_bytes;
  const auto context = call_llama([&] { return llama_init_from_model(llama(), params); });
  embedder_.reset(context.value_or(nullptr));
  const uint64_t real_bytes = std::max(need_bytes, grown_bytes_since(data_bytes_before));
  tl::expected<void, Status> made = reserve({.context_bytes = reserved_.context_bytes, .embedder_bytes = real_bytes});
  if (embedder_ != nullptr) model_->mapped->adapters.use_in(embedder_.get());
  if (embedder_ == nullptr)
    made = model_->mapped->blame(context ? Status(Code::kOutOfBudget, "libllama could not make it") : context.error());
  if (made) return {};
  embedder_.reset();
  (void)reserve({.context_bytes = reserved_.context_bytes});
  return refused(made.error());
}

Result<std::vector<float>> LlamaEngine::embed(std::span<const TokenId> tokens) {
  const uint64_t n_train = info_.n_ctx_train > 0 ? info_.n_ctx_train : info_.n_ctx;
  const size_t room = std::min<size_t>(std::min<uint64_t>(n_train, info_.n_ctx), pass_tokens_fitting());
  if (tokens.size() > room)
    return error(
        Code::kContextOverflow,
        fmt::format("the input length exceeds the context length: {} tokens, room for {}", tokens.size(), room));
  std::vector<BatchToken> batch;
  for (const TokenId id : tokens)
    batch.push_back({.id = id, .pos = static_cast<int32_t>(batch.size()), .seq = 0, .want_logits = true});
  *context_.abort = false;  // first: a context may take seconds to make room for
  RETURN_IF_ERROR(check_tokens(batch));
  if (budget_ != nullptr) RETURN_IF_ERROR(budget_->check());
  RETURN_IF_ERROR(make_embedder(tokens.size()));
  llama_context* context = embedder_.get();
  if (llama_memory_t memory = llama_get_memory(context); memory != nullptr) llama_memory_clear(memory, false);
  if (const auto outcome = compute(context, batch, info_.has_decoder ? Kind::kDecode : Kind::kEncode); !outcome)
    return why_failed(outcome.error());
  const float* data = llama_pooling_type(context) == LLAMA_POOLING_TYPE_NONE ? llama_get_embeddings_ith(context, -1)
                                                                             : llama_get_embeddings_seq(context, 0);
  if (data == nullptr) return error(Code::kUnsupported, "this model computes no embeddings");
  std::vector<float> values(data, data + (info_.n_scores > 0 ? info_.n_scores : info_.n_embd));
  if (!are_finite(values)) return no_numbers();
  return values;
}

// Room is made before the new context is: libllama clears its cache, so all of it is in memory at once.
Result<void> LlamaEngine::resize_context(uint32_t n_ctx) {
  const uint32_t n_ctx_before = info_.n_ctx;
  if (n_ctx == n_ctx_before) {
    image_ends_.clear();
    llama_memory_clear(llama_get_memory(context_.llama.get()), false);
    return {};
  }
  const auto remake = [&](uint32_t n) -> Result<void> {
    embedder_.reset();
    image_ends_.clear();
    RETURN_IF_ERROR(remake_context(context_, *model_->mapped, model_->decision, n));
    describe_context(*model_->mapped, context_, info_);
    return {};
  };
  const Reserved before = reserved_;
  const auto need_of = [&](uint32_t n) {
    return context_need_bytes(request(), model_->decision.devices, model_->decision.context, n);
  };
  ASSIGN_OR_RETURN(const uint64_t need_bytes, need_of(n_ctx));
  ASSIGN_OR_RETURN(const uint64_t held_bytes, need_of(n_ctx_before));
  const auto with_context = [&](uint64_t more_bytes, uint64_t less_bytes) {
    const uint64_t all_bytes = before.context_bytes + more_bytes;
    return Reserved{.context_bytes = saturating_sub(all_bytes, less_bytes)};
  };
  const auto refused = [&](const Status& why) {
    if (why.code() != Code::kOutOfBudget && why.code() != Code::kBusy) return Failure(why);
    return error(why.code(), fmt::format("no room for a context of {} tokens: {}", n_ctx, why.message()));
  };
  embedder_.reset();
  if (auto room = reserve(with_context(need_bytes, held_bytes)); !room) {
    (void)reserve({.context_bytes = before.context_bytes});
    return refused(room.error());
  }
  const uint64_t data_bytes_before = process_usage().data_bytes;
  auto made = remake(n_ctx);
  if (made) {
    const uint64_t grown_bytes = grown_bytes_since(data_bytes_before);
    if (before.context_bytes + grown_bytes <= reserved_.context_bytes) return {};
    made = reserve(with_context(grown_bytes, 0));
    if (made) return {};
  }
  const Status why = made.error();
  if (!remake(n_ctx_before)) {
    context_lost_ = true;
    return check_usable();
  }
  (void)reserve({.context_bytes = before.context_bytes});
  return refused(why);
}

// Streamed weights make room; those that stay do not, and then what is left decides.
Result<void> LlamaEngine::reserve(const Reserved& reserved) {
  const auto sum = [](const Reserved& r) { return r.context_bytes + r.embedder_bytes; };
  const uint64_t before_bytes = reserved_bytes_, bytes = sum(reserved) + projector_growth_bytes_;
  if (bytes > before_bytes && store() == nullptr) {
    const MemoryReport& memory = model_->memory;
    const uint64_t all_bytes = memory.other_bytes + memory.pinned_bytes + bytes;
    if (budget_ == nullptr && all_bytes > memory.budget_bytes)
      return error(Code::kOutOfBudget, fmt::format("a budget of {} is too small: this needs {}",
                                                   format_bytes(memory.budget_bytes), format_bytes(all_bytes)));
    RETURN_IF_ERROR(check_memory_left(model_->memory.budget_bytes, bytes - before_bytes));
  }
  if (budget_ != nullptr) RETURN_IF_ERROR(budget_->reserve(bytes));
  reserved_ = reserved;
  reserved_bytes_ = bytes;
  return {};
}

namespace {

// The template with its places filled in; what is filled in is not looked at again.
std::string filled_in(std::string_view text,
                      std::initializer_list<std::pair<std::string_view, std::string_view>> places) {
  std::string result;
  while (!text.empty()) {
    const auto here =
        std::find_if(places.begin(), places.end(), [&](const auto& place) { return text.starts_with(place.first); });
    if (here == places.end()) {
      result += text.front();
      text.remove_prefix(1);
    } else {
      result += here->second;
      text.remove_prefix(here->first.size());
    }
  }
  return result;
}

}  // namespace

Result<std::vector<TokenId>> LlamaEngine::infill_tokens(const std::string& prefix, const std::string& suffix) const {
  const TokenId pre = llama_vocab_fim_pre(vocab()), suf = llama_vocab_fim_suf(vocab()),
                mid = llama_vocab_fim_mid(vocab());
  if (pre < 0 || suf < 0 || mid < 0) return error(Code::kUnsupported, "this model does not fill in text");
  ASSIGN_OR_RETURN(const auto before, tokenize(prefix, false, false));
  ASSIGN_OR_RETURN(const auto behind, tokenize(suffix, false, false));
  std::vector<TokenId> tokens;
  if (llama_vocab_get_add_bos(vocab())) tokens.push_back(llama_vocab_bos(vocab()));
  tokens.push_back(pre);
  tokens.insert(tokens.end(), before.begin(), before.end());
  tokens.push_back(suf);
  tokens.insert(tokens.end(), behind.begin(), behind.end());
  tokens.push_back(mid);
  return tokens;
}

Result<std::vector<TokenId>> LlamaEngine::pair_tokens(const std::string& query, const std::string& text) const {
  if (const char* own = llama_model_chat_template(llama(), "rerank"); own != nullptr)
    return tokenize(filled_in(own, {{"{query}", query}, {"{document}", text}}), false, true);
  ASSIGN_OR_RETURN(const auto query_tokens, tokenize(query, false, false));
  ASSIGN_OR_RETURN(const auto text_tokens, tokenize(text, false, false));
  const TokenId sep = llama_vocab_sep(vocab()), eos = llama_vocab_eos(vocab()), end = eos >= 0 ? eos : sep;
  std::vector<TokenId> tokens;
  const auto add = [&tokens](bool wanted, TokenId id) {
    if (wanted && id >= 0) tokens.push_back(id);
  };
  add(llama_vocab_get_add_bos(vocab()), llama_vocab_bos(vocab()));
  tokens.insert(tokens.end(), query_tokens.begin(), query_tokens.end());
  add(llama_vocab_get_add_eos(vocab()), end);
  add(llama_vocab_get_add_sep(vocab()), sep);
  tokens.insert(tokens.end(), text_tokens.begin(), text_tokens.end());
  add(llama_vocab_get_add_eos(vocab()), end);
  return tokens;
}

Result<std::vector<TokenId>> LlamaEngine::tokenize(const std::string& text, bool add_special,
                                                   bool parse_special) const {
  if (!info_.has_tokenizer)
    return error(Code::kUnsupported, "this model has no tokenizer; give it token ids with --token-ids");
  RETURN_IF_ERROR(check_runs(text, slow_runs_));
  if (text.size() < kLongTextBytes) return tokens_of_part(text, add_special, parse_special);
  const auto parts = text_cuts_->parts(text, kTextPartBytes, parse_special);
  for (const std::string_view part : parts) RETURN_IF_ERROR(unknown_characters_->check(part));
  if (parts.size() == 1) return tokens_of_part(text, add_special, parse_special);
  std::vector<TokenId> all;
  for (const std::string_view part : parts) {
    ASSIGN_OR_RETURN(const auto tokens, tokens_of_part(part, false, parse_special));
    all.insert(all.end(), tokens.begin(), tokens.end());
  }
  if (!add_special) return all;
  // What the first part has before and behind its own tokens, the whole has as well.
  ASSIGN_OR_RETURN(const auto bare, tokens_of_part(parts.front(), false, parse_special));
  ASSIGN_OR_RETURN(const auto framed, tokens_of_part(parts.front(), true, parse_special));
  const auto at = llama_vocab_get_add_bos(vocab()) && framed.size() > bare.size()
                      ? framed.begin() + 1
                      : std::search(framed.begin(), framed.end(), bare.begin(), bare.end());
  if (framed.end() - at < static_cast<std::ptrdiff_t>(bare.size())) return tokens_of_part(text, true, parse_special);
  all.insert(all.begin(), framed.begin(), at);
  all.insert(all.end(), at + static_cast<std::ptrdiff_t>(bare.size()), framed.end());
  return all;
}

Result<std::vector<TokenId>> LlamaEngine::tokens_of_part(std::string_view text, bool add_special,
                                                         bool parse_special) const {
  std::vector<TokenId> ids(text.size() + 8);
  const auto tokens_of_text = [&]() -> Result<int32_t> {
    auto n = call_llama([&] {
      return llama_tokenize(vocab(), text.data(), static_cast<int32_t>(text.size()), ids.data(),
                            static_cast<int32_t>(ids.size()), add_special, parse_special);
    });
    if (n || n.error().code() != Code::kUnsupported) return n;
    return error(Code::kUnsupported, fmt::format("the text cannot be split into this model's tokens, of which none may "
                                                 "stand for one of its characters ({})",
                                                 n.error().message()));
  };
  ASSIGN_OR_RETURN(int32_t n, tokens_of_text());
  if (n < 0) {
    ids.resize(static_cast<size_t>(-n));
    ASSIGN_OR_RETURN(n, tokens_of_text());
  }
  if (n < 0) return error(Code::kInternal, "the text could not be tokenized");
  ids.resize(static_cast<size_t>(n));
  return ids;
}

std::string LlamaEngine::token_text(TokenId id, bool special) const {
  if (!info_.has_tokenizer) return fmt::format("{} ", id);
  std::string text(64, '\0');
  const auto piece = [&] {
    return call_llama([&] {
             return llama_token_to_piece(vocab(), id, text.data(), static_cast<int32_t>(text.size()), 0, special);
           })
        .value_or(0);
  };
  int32_t n = piece();
  if (n < 0) {
    text.resize(static_cast<size_t>(-n));
    n = piece();
  }
  text.resize(static_cast<size_t>(std::max(n, 0)));
  return text;
}

bool LlamaEngine::ends_generation(TokenId id) const { return info_.has_tokenizer && llama_vocab_is_eog(vocab(), id); }

TokenId LlamaEngine::decoder_start_token() const {
  const TokenId id = llama_model_decoder_start_token(llama());
  return id >= 0 ? id : std::max(0, llama_vocab_bos(vocab()));
}

void LlamaEngine::set_node_observer(NodeObserver observer) {
  if (context_.gate != nullptr) context_.gate->set_observer(std::move(observer));
}

}  // namespace spillway
