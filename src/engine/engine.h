// SPDX-License-Identifier: MIT
// A model that is loaded and computes: the public face of everything below. No libllama type appears here, so that
// users can be tested against a fake.
//
// Threads: one thread at a time uses an Engine (the decode thread). What only reads the model may be called from any:
// model() (but for the size of the context), tokenize(), inspect_image(), token_text(), ends_generation(),
// infill_tokens(), pair_tokens(); so may abort(). Lifetime: a Sampler outlives no Engine it was made by.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "engine/device_options.h"
#include "engine/held_tokens.h"
#include "engine/prompt_image.h"
#include "engine/residency.h"
#include "grammar/grammar.h"
#include "hw/machine_profile.h"
#include "os/io_queue.h"  // IoQueueKind
#include "plan/cache_format.h"
#include "plan/placement.h"
#include "plan/planner.h"

namespace spillway {

// Added to the model's own matrices, `scale` times.
struct LoraAdapter {
  std::string path;
  float scale = 1;
};

struct LoadOptions {
  std::string path;
  std::vector<LoraAdapter> adapters;
  std::string projector_path = {};           // what the model sees images with (mmproj); empty: it sees none
  bool projector_is_optional = false;        // where it cannot be had the model is loaded without, and a notice says so
  std::optional<Mode> mode;                  // nullopt: chosen
  uint64_t ram_bytes = 0;                    // budget for the whole process; 0: what is free, less headroom
  uint64_t reserve_bytes = 0;                // of the budget, for caches of the caller's own; 0 where it has no room
  uint64_t weights_bytes = 0;                // budget for weights alone, instead of ram_bytes: nothing is planned then
  DeviceOptions devices;                     // which layers go to GPUs, when `choose_devices` is not set
  bool choose_devices = false;               // the planner does, among those that `machine` tells of
  std::optional<uint64_t> gpu_memory_bytes;  // that it may use of each; nullopt: what `machine` says
  std::optional<MachineProfile> machine;     // measured earlier; nullopt: processor and disk are measured while loading
  uint32_t n_ctx = 0;                        // tokens of context; 0: chosen, as plan/context_choice.h says
  uint32_t n_ctx_min = 0;                    // where it is chosen: at least so many
  uint32_t n_batch = 4096;
  uint32_t n_ubatch = 0;  // tokens that share one reading of the weights; 0: chosen, 512 where nothing streams
  uint32_t n_seq_max = 1;
  // false: each sequence has n_ctx tokens of its own, and what others hold does not show in its numbers. true: all
  // share n_ctx tokens.
  bool shared_context = true;
  bool swa_full = false;   // layers with a sliding window keep all of the context: cut anywhere, without checkpoints
  CacheFormat cache = {};  // of keys and values
  bool cache_is_optional = false;  // a model that takes no such cache gets one of f16, and a notice says so
  unsigned n_threads = 0;          // 0: the CPUs this process may use
  uint32_t n_outputs = 0;  // tokens of a pass whose logits are wanted, at least one for each sequence; fewer where the
                           // budget has no room for so many: see pass_outputs_max()
  bool embeddings = false;
  Kernels kernels = Kernels::kAuto;         // chosen by model and machine; plain where only `weights_bytes` is given
  bool measure_compute = true;              // for predictions; a tenth of a second
  uint64_t extent_bytes_min = 0;            // 0: the default of store/tuning.h
  IoQueueKind reader = IoQueueKind::kBest;  // io_uring, or threads where the kernel refuses it
  bool direct_io = true;                    // false: through the page cache, as where a file system refuses O_DIRECT
  bool keep_heat = true;     // load and save what earlier runs taught: heat profile, corrected predictions
  bool observable = false;   // set_node_observer() works in every mode; costs a callback per node
  bool by_libllama = false;  // weights are loaded as libllama does it without us: what verify() compares with
  // 0..1 while loading; returning false cancels.
  std::function<bool(double)> progress;
};

struct ModelInfo {
  std::string path, name, architecture, description;  // description: "llama 8x0.4B Q4_K - Medium"
  uint64_t n_params = 0, weight_bytes = 0, n_layer = 0, n_expert = 0, n_expert_used = 0, n_ctx_train = 0;
  // These two, needs_checkpoints and context_key change with resize_context(), and are for the decode thread alone; the
  // rest is constant.
  uint32_t n_ctx = 0;          // tokens of context; of each sequence where they do not share it
  uint32_t n_ubatch = 0;       // tokens that share one reading of the weights
  uint32_t n_ctx_default = 0;  // of context, chosen at the load; 0: a number was named
  std::string n_ctx_why = {};  // by what it was chosen
  int32_t n_vocab = 0;
  uint64_t n_embd = 0;    // length of an embedding
  uint32_t n_scores = 0;  // of a model that ranks: embed() gives so many of a pair; 0: one that does not
  std::string state_key;  // what made a saved sequence beside the model's file: it is of use where this is the same
  std::string context_key = {};  // and this, which the size of the context decides
  bool has_tokenizer = false;
  bool sees_images = false;
  std::string blind_why = {};           // it was loaded without its projector, which failed with this
  bool image_positions_differ = false;  // an image may have fewer positions than tokens, see PromptImage
  // No token stands for more bytes of text: so many tokens a text has at least. 0: not known, as where what the
  // vocabulary lacks becomes one token whatever its length.
  size_t token_bytes_max = 0;
  bool has_encoder = false;  // the prompt goes through encode() first
  bool has_decoder = true;   // makes text token by token; false: an embedding (or diffusion) model, whole inputs only
  // What a sequence forgets as it goes on (see HeldTokens), and with it the ways back that need a checkpoint.
  uint32_t window = 0;        // tokens that layers with a sliding window look back over; 0: there is no such layer
  bool is_recurrent = false;  // layers with a state of the whole sequence
  bool keeps_nothing_else = false;  // only such: a checkpoint is all that a sequence holds
  bool needs_checkpoints = false;   // a sequence of this context cannot be cut everywhere
  // The model's own chat template (Jinja), empty without one; and what it writes for the tokens that begin and end a
  // text. tokenize() with add_special puts the first in front itself where adds_bos is set.
  std::string chat_template = {}, bos_token = {}, eos_token = {};
  bool adds_bos = false;
};

struct BatchToken {
  TokenId id = 0;
  int32_t pos = 0;
  int32_t seq = 0;
  bool want_logits = false;
};

// Where nobody says otherwise, as Ollama samples: in `run`, chats, and the server's own protocol alike.
struct SamplingOptions {
  float temp = 0.8f, top_p = 0.9f, min_p = 0.0f, repeat_penalty = 1.0f;
  int32_t top_k = 40, repeat_last_n = 64;
  uint32_t seed = 0xFFFFFFFF;  // this value: a new one each time
  float typical_p = 1.0f, frequency_penalty = 0.0f, presence_penalty = 0.0f;
  std::vector<std::pair<TokenId, float>> logit_bias{};  // added before anything else
  // Nothing else is chosen; null: anything. Shared by who asks and the sampler.
  std::shared_ptr<const Grammar> grammar{};
};

// Since loading or reset_stats(); what belongs to decode and prefill apart is kept by who drives the engine.
struct EngineStats {
  uint64_t passes = 0, tokens = 0;
  uint64_t bytes_read = 0;
  uint64_t hits = 0, misses = 0;  // of the experts the router asked for; what a dense model streams counts as neither
  double disk_wait_s = 0;
  double reader_busy_s = 0;
  double streaming_cpu_s = 0;  // reader thread, gate and cache
  double place_cpu_s = 0;      // of threads that put weights in place which cannot be read there: repacking, copying
  uint64_t ungated = 0;        // operations that read absent weights through the kernel's mapping
  uint64_t major_faults = 0;   // of the whole process
  uint64_t shrinks = 0;        // others took memory: the pool gave way, or a resident model could not
  uint64_t growths = 0;        // steps in which it took memory back
};

struct MemoryReport {
  uint64_t budget_bytes = 0;  // now: set_budget() changes it
  uint64_t pinned_bytes = 0, pool_bytes = 0, ring_pool_bytes = 0, rows_bytes = 0;
  uint64_t weight_bytes = 0;         // of the whole model
  uint64_t device_bytes = 0;         // weights in devices' own memory; not part of the budget
  uint64_t other_bytes = 0;          // KV cache, compute buffers, the program itself, what callers reserved
  uint64_t other_bytes_planned = 0;  // the same from metadata alone; 0: not planned
  uint64_t reserve_bytes = 0;        // of it, what callers reserved: as asked, or nothing
  uint64_t pool_now_bytes = 0;       // of the pool, what may be used now: less while others press
  uint64_t unpinned_bytes = 0;       // of the pinned, left to the page cache now, because others press still more
};

struct DiskReport {
  double disk_bytes_per_s = 0;  // at load, or measured anew by measure_disk()
  uint32_t read_bytes = 0;
  unsigned depth = 0;
  std::string io_queue;  // "io_uring" or "threads"
  bool direct = false;
};

class Engine;

// A chain of samplers with its own random state.
class Sampler {
 public:
  virtual ~Sampler() = default;
  // Picks a token from the logits of token `i` of the last batch (as Engine::logits) and remembers it for penalties.
  //   InvalidArgument   no token satisfies the grammar
  //   OutOfBudget       the grammar takes more time or memory than one answer may have
  //   Corrupt           the logits are no numbers
  virtual Result<TokenId> sample(int32_t i) = 0;
  // Lets penalties count a token that was not chosen here, such as those of the prompt. A grammar does not see it.
  virtual void accept(TokenId id) = 0;
};

class Engine {
 public:
  //   errors of open_gguf_model, and:
  //   OutOfBudget       the budget is below what this model needs; the message says how much that is
  //   Unsupported       libllama does not know the architecture, or cannot load the model
  //   InvalidArgument   errors of check_cache_format and, for each adapter, of open_adapter_file
  //   Cancelled         progress returned false
  //   NotFound, Io, Unavailable   a device or worker that was named is not there
  static Result<std::unique_ptr<Engine>> load(const LoadOptions& options);
  // Whether the plan of such a load has room where other models of this process held no more than `held_bytes`. Nothing
  // is measured and nothing taken; a load may still find that it needs more.
  //   errors of load, from metadata alone
  static Result<void> check_room(const LoadOptions& options, uint64_t held_bytes);
  virtual ~Engine() = default;

  virtual const ModelInfo& model() const = 0;
  // Whether it can still compute; once it cannot, only loading anew helps. From any thread.
  //   Unavailable   a worker that holds part of the model is lost, or no context could be made
  //   Changed       its file was written to, or shrank
  virtual Result<void> check_usable() const { return {}; }
  // Whether its path still means this model. Where it does not, what was begun goes on with the bytes that were opened;
  // what begins wants another engine. From any thread.
  //   Changed   another file stands there now, or none
  virtual Result<void> check_in_place() const { return {}; }
  virtual const Placement& placement() const = 0;
  // What the load was planned by; nullptr where nothing was planned (weights_bytes was given).
  virtual const Plan* plan() const { return nullptr; }
  // Tells the next plan of this model on this machine how fast decoding was, if that contradicts the prediction.
  virtual void remember_speed(double /*decode_tok_per_s*/) {}
  virtual MemoryReport memory() const = 0;
  virtual DiskReport disk() const = 0;
  virtual EngineStats stats() const = 0;

  // From any thread. Engines that cannot tell have no layers.
  virtual Residency residency() const { return {}; }
  // Of weights that are left to the kernel's page cache: how much of them it holds, about. nullopt: they are not, or it
  // does not tell. Some milliseconds; from any thread.
  virtual std::optional<uint64_t> page_cache_bytes() const { return std::nullopt; }
  virtual void reset_stats() = 0;

  // Another budget for the whole process while it runs, from the next operation on. Any thread.
  //   OutOfBudget   less than this model needs; the message says how much that is
  //   Unsupported   the weights do not stream
  virtual Result<void> set_budget(uint64_t ram_bytes) {
    (void)ram_bytes;
    return error(Code::kUnsupported, "the budget of this engine cannot be changed");
  }

  // Reads offsets of the model file that were not read before: the disk's bandwidth now.
  virtual Result<double> measure_disk() = 0;

  // Computes the tokens, all in one batch; their logits stay valid until the next pass. Splits a batch that is larger
  // than the memory for streaming can serve at once. When it fails, the tokens of this batch are gone from the context,
  // and others with them where a sequence cannot be cut there: held() says what is left.
  //   InvalidArgument  a token id outside the vocabulary; more tokens than the context holds
  //   Io  Changed      the weights could not be read, or the file was written to or shrank
  //   OutOfBudget      more than the memory for streaming can serve
  //   Busy             other programs left less memory than one token needs
  //   Unavailable      a worker is lost, and with it this engine
  //   Cancelled        abort() was called      Internal
  virtual Result<void> decode(std::span<const BatchToken> tokens) = 0;

  // Computes an image whole, and what it is in the context: as decode(), without logits. Text has to follow it. When it
  // fails, none of it is in the context.
  //   Unsupported      the model sees no images
  //   OutOfBudget      no memory for one of this size, or for as many tokens in one pass as it has; the message says
  //                    what helps
  //   errors of decode()
  virtual Result<void> decode_image(const PromptImage& image, int32_t seq, int32_t pos) {
    (void)image, (void)seq, (void)pos;
    return error(Code::kUnsupported, "this model sees no images");
  }

  // Runs the encoder of an encoder-decoder or embedding model over the tokens, at most n_ubatch of them.
  virtual Result<void> encode(std::span<const BatchToken> tokens) = 0;

  // Stops a decode() that is running, from any thread or a signal handler: it returns Cancelled. Cleared when one
  // begins.
  virtual void abort() = 0;

  // [n_vocab], or [n_embd] for embeddings(), of token `i` of the last batch (pooled: of sequence 0, whatever `i` is);
  // -1: of the last that wanted logits, the only way where decode() may have cut the batch. Empty when there is none.
  virtual std::span<const float> logits(int32_t i) const = 0;
  virtual std::span<const float> embeddings(int32_t i) const = 0;

  // The most tokens of one decode() in which several want logits, and of those the most that may.
  virtual size_t pass_tokens_max() const = 0;
  virtual size_t pass_outputs_max() const { return pass_tokens_max(); }

  // What `seq` holds now, by libllama's own account.
  virtual HeldTokens held(int32_t seq) const = 0;

  // Leaves the first `n_tokens` of `seq` where what is left can be built on, else nothing (see HeldTokens::cut_to), and
  // returns how many are left.
  virtual size_t cut(int32_t seq, size_t n_tokens) = 0;

  // What `seq` holds, as bytes that only this model with this version of libllama understands; 0 and empty when
  // nothing. A checkpoint is of what is lost as the sequence goes on alone: windows and recurrent states.
  virtual size_t state_bytes(int32_t seq, StatePart part) = 0;
  virtual std::string save_state(int32_t seq, StatePart part) = 0;
  // The whole in a file, without a copy in memory. `tokens` are those that it holds.
  //   Io, Unavailable   what was written is to be removed
  virtual Result<void> save_state_file(int32_t seq, const std::string& path, std::span<const TokenId> tokens) = 0;

  // `seq` holds the `n_tokens` that were saved and nothing else. For a checkpoint it has to hold them already in the
  // layers that forget nothing; what is behind them goes. The bytes are trusted: the caller has checked that they are
  // what was saved. After an error `seq` is empty.
  //   Corrupt   other model or context
  virtual Result<void> restore_state(int32_t seq, std::string_view state, StatePart part, size_t n_tokens) = 0;
  virtual Result<void> restore_state_file(int32_t seq, const std::string& path, size_t n_tokens) = 0;

  // What a whole text means, as [n_embd]: pooled as the model says, else the last token's. Not normalised. Of a model
  // that ranks, how well a text answers a query (pair_tokens()), as [n_scores]: the first is the score. Leaves all
  // sequences as they are; the first call makes a context for it, a longer text a larger one. Weights make room for it.
  //   ContextOverflow   more tokens than the model was trained for, than n_ctx, or than the budget has room for
  //   OutOfBudget       the budget has no room for the shortest text      Busy, and errors of decode()
  virtual Result<std::vector<float>> embed(std::span<const TokenId> tokens) = 0;

  // A context of another size for the weights that are loaded, which make room for it; all sequences are empty then,
  // and may be after an error. Samplers stay valid.
  //   OutOfBudget   there is no room for it: one of the old size is there
  //   Busy          weights did not make room in time: one of the old size is there
  //   Unavailable   neither could be made: this engine is of no use any more
  virtual Result<void> resize_context(uint32_t n_ctx) = 0;

  virtual std::unique_ptr<Sampler> make_sampler(const SamplingOptions& options) = 0;

  //   Unsupported       the model has no tokenizer
  //   InvalidArgument   runs of digits or blanks so long that this model's tokenizer would take minutes
  virtual Result<std::vector<TokenId>> tokenize(const std::string& text, bool add_special,
                                                bool parse_special) const = 0;
  // What stands for an image file in a prompt; PNG, JPEG, GIF, BMP and WebP are read. Takes some 100 ms for a
  // photograph.
  //   InvalidArgument   no such file, cut off, damaged or too large      Unsupported   the model sees no images
  virtual Result<ImagePrompt> inspect_image(const std::shared_ptr<const std::string>& /*file*/) const {
    return error(Code::kUnsupported, "this model sees no images");
  }
  virtual std::string token_text(TokenId id, bool special) const = 0;
  virtual bool ends_generation(TokenId id) const = 0;

  // The prompt for what stands between `prefix` and `suffix`.
  //   Unsupported   the model was not trained to fill in
  virtual Result<std::vector<TokenId>> infill_tokens(const std::string& prefix, const std::string& suffix) const = 0;
  // A query and a text, for a model that ranks: in the model's own template for it, else as pairs of sentences are.
  //   Unsupported   the model has no tokenizer
  virtual Result<std::vector<TokenId>> pair_tokens(const std::string& query, const std::string& text) const = 0;
  virtual TokenId decoder_start_token() const = 0;

  // Observes every computed node of the following passes: name, then the hash of its bytes. nullptr: none. In stream
  // mode, and where LoadOptions::observable was set; else without effect.
  using NodeObserver = std::function<void(const std::string& name, uint64_t hash)>;
  virtual void set_node_observer(NodeObserver observer) = 0;
};

}  // namespace spillway
