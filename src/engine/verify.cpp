// SPDX-License-Identifier: MIT
#include "engine/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>
#include <span>

#include "base/hash.h"
#include "model/tensor_role.h"
#include "os/machine.h"

namespace spillway {
namespace {

// The output of one token of one pass.
struct Output {
  std::string where;  // "decode step 3"
  uint64_t hash = 0;
};

struct Node {
  std::string where, name;
  uint64_t hash = 0;
};

// Graphs hold nodes that compute from inputs nobody set (a branch not taken). The named ones of the layers are real.
bool is_comparable(const std::string& name) {
  const size_t dash = name.rfind('-');
  return name.starts_with("result") || (dash != std::string::npos && dash + 1 < name.size() &&
                                        name.find_first_not_of("0123456789", dash + 1) == std::string::npos);
}

// One run of the script on one engine.
class Script {
 public:
  // Passes are of at most `pass_tokens` tokens, the same for both engines: as many as the streamed one takes at once.
  Script(Engine& engine, const VerifyOptions& options, size_t pass_tokens, bool trace)
      : engine_(engine), options_(options), random_(20261121), pass_tokens_(pass_tokens), trace_(trace) {
    if (trace)
      engine_.set_node_observer([this](const std::string& name, uint64_t hash) {
        if (is_comparable(name)) nodes.push_back({where_, name, hash});
      });
  }
  ~Script() { engine_.set_node_observer(nullptr); }

  Result<void> run() {
    const ModelInfo& model = engine_.model();
    if (model.has_encoder || !model.has_decoder) {
      where_ = "encoder";
      RETURN_IF_ERROR(pass(sequence(0, 0, options_.n_prompt), /*encode=*/true));
    }
    if (!model.has_decoder) return check_compared();
    where_ = "prefill";
    RETURN_IF_ERROR(pass(sequence(0, 0, options_.n_prompt), false));
    for (uint32_t step = 0; step < options_.n_decode; ++step) {
      where_ = fmt::format("decode step {}", step + 1);
      RETURN_IF_ERROR(pass(sequence(0, static_cast<int32_t>(options_.n_prompt + step), 1), false));
    }
    RETURN_IF_ERROR(run_batch());
    return check_compared();
  }

  std::vector<Output> outputs;
  std::vector<Node> nodes;

 private:
  // Several sequences of unequal content through one pass, then a step of each together.
  Result<void> run_batch() {
    const auto n_seqs = static_cast<int32_t>(std::min<size_t>(options_.n_seqs, pass_tokens_));
    if (n_seqs < 2) return {};
    engine_.cut(0, 0);
    // Whole sequences in one pass: recurrent layers do not take parts of several (libllama 0.7 aborts).
    const size_t n_all = std::min<size_t>(options_.n_prompt, pass_tokens_);
    const auto n_each = static_cast<uint32_t>(std::max<size_t>(n_all / static_cast<size_t>(n_seqs), 1));
    std::vector<BatchToken> prompts, steps;
    for (int32_t seq = 0; seq < n_seqs; ++seq) {
      for (const BatchToken& token : sequence(seq, 0, n_each)) prompts.push_back(token);
      steps.push_back(sequence(seq, static_cast<int32_t>(n_each), 1).front());
    }
    where_ = fmt::format("batch of {} prompts", n_seqs);
    RETURN_IF_ERROR(pass(prompts, false));
    where_ = fmt::format("batch of {} steps", n_seqs);
    return pass(steps, false);
  }

  // Fixed pseudo-random ids: greedy text of an unknown model may collapse to one token and one set of experts.
  std::vector<BatchToken> sequence(int32_t seq, int32_t from, uint32_t n) {
    std::vector<BatchToken> tokens;
    for (uint32_t i = 0; i < n; ++i)
      tokens.push_back({static_cast<TokenId>(random_() % static_cast<uint32_t>(std::max(engine_.model().n_vocab, 1))),
                        from + static_cast<int32_t>(i), seq, true});
    return tokens;
  }

  Result<void> pass(std::span<const BatchToken> tokens, bool encode) {
    while (!encode && tokens.size() > pass_tokens_) {
      RETURN_IF_ERROR(pass_at_once(tokens.first(pass_tokens_), false));
      tokens = tokens.subspan(pass_tokens_);
    }
    return pass_at_once(tokens, encode);
  }

  Result<void> pass_at_once(std::span<const BatchToken> tokens, bool encode) {
    RETURN_IF_ERROR(encode ? engine_.encode(tokens) : engine_.decode(tokens));
    for (int32_t i = 0; i < static_cast<int32_t>(tokens.size()); ++i) {
      for (const std::span<const float> values : {engine_.logits(i), engine_.embeddings(i)}) {
        if (values.empty()) continue;
        Fnv1a hash;
        hash.add(values.data(), values.size_bytes());
        outputs.push_back({where_, hash.value()});
      }
    }
    const double done = static_cast<double>(++passes_) / (options_.n_decode + 4.0);
    if (options_.progress && !options_.progress(trace_ ? "tracing" : "comparing", std::min(done, 1.0)))
      return error(Code::kCancelled, "stopped");
    return {};
  }

  // A comparison of nothing would always succeed.
  Result<void> check_compared() const {
    if (!outputs.empty()) return {};
    return error(Code::kUnsupported,
                 fmt::format("{}: the model gives neither logits nor embeddings to compare", options_.path));
  }

  Engine& engine_;
  const VerifyOptions& options_;
  std::mt19937 random_;
  const size_t pass_tokens_;
  const bool trace_;
  std::string where_;
  uint32_t passes_ = 0;
};

LoadOptions streamed_options(const VerifyOptions& options) {
  LoadOptions load;
  load.path = options.path;
  load.mode = Mode::kStream;
  load.ram_bytes = options.ram_bytes;
  load.weights_bytes = options.weights_bytes;
  load.devices = options.devices;
  load.kernels = options.kernels;
  load.n_ctx = std::max(256u, 2 * (options.n_prompt + options.n_decode) * std::max(options.n_seqs, 1u));
  load.n_batch = std::max(options.n_prompt, 32u);
  load.n_ubatch = options.n_ubatch;
  load.n_seq_max = std::max(options.n_seqs, 1u);
  load.cache = options.cache;
  load.adapters = options.adapters;
  load.n_threads = options.n_threads;
  load.n_outputs = options.n_ubatch;
  load.measure_compute = false;
  load.extent_bytes_min = options.extent_bytes_min;
  load.reader = options.reader;
  load.direct_io = options.direct_io;
  load.keep_heat = false;
  load.progress = [&options](double fraction) { return !options.progress || options.progress("loading", fraction); };
  return load;
}

// Plain libllama, resident where the machine allows it.
// Repacked by libllama they lie in memory of their own, whatever the file's pages take.
LoadOptions reference_options(const VerifyOptions& options, Kernels kernels, uint64_t weight_bytes, bool observable) {
  LoadOptions load = streamed_options(options);
  load.by_libllama = true;
  load.weights_bytes = 0;
  load.ram_bytes = 0;
  load.kernels = kernels;
  load.mode = kernels == Kernels::kRepacked || weight_bytes + GiB < memory_state().available_bytes ? Mode::kResident
                                                                                                   : Mode::kMmap;
  load.observable = observable;
  return load;
}

Result<std::unique_ptr<Engine>> load_for(LoadOptions load, const EngineLoader& loader) {
  auto engine = loader(load);
  if (!engine) return engine;
  const ModelInfo& model = (*engine)->model();
  if (model.has_decoder && !model.has_encoder) return engine;
  load.embeddings = !model.has_decoder;
  load.n_ubatch = load.n_outputs = load.n_batch;  // an encoder sees its input whole
  engine->reset();
  return loader(load);
}

// Both engines again with every node observed, up to the first that differs.
Result<std::string> find_first_difference(const VerifyOptions& options, const EngineLoader& load_streamed,
                                          Kernels kernels, uint64_t weight_bytes, size_t pass_tokens,
                                          const std::string& where) {
  std::vector<Node> streamed, plain;
  for (const bool reference : {false, true}) {
    const auto load = [&] {
      return reference ? load_for(reference_options(options, kernels, weight_bytes, true), Engine::load)
                       : load_for(streamed_options(options), load_streamed);
    };
    ASSIGN_OR_RETURN(const auto engine, load());
    Script script(*engine, options, pass_tokens, true);
    RETURN_IF_ERROR(script.run());
    (reference ? plain : streamed) = std::move(script.nodes);
  }
  for (size_t i = 0; i < std::min(streamed.size(), plain.size()); ++i) {
    if (streamed[i].hash == plain[i].hash) continue;
    const size_t dash = streamed[i].name.rfind('-');
    const std::string layer =
        dash == std::string::npos ? "outside the layers" : "layer " + streamed[i].name.substr(dash + 1);
    return fmt::format("{}, {} (node {})", streamed[i].where, layer, streamed[i].name);
  }
  return where + " (not reproduced when traced)";
}

}  // namespace

Result<VerifyReport> verify(const VerifyOptions& options, const EngineLoader& load_streamed) {
  VerifyReport report;
  std::vector<Output> streamed, plain;
  uint64_t weight_bytes = 0;
  size_t pass_tokens = 1;
  {
    ASSIGN_OR_RETURN(const auto engine, load_for(streamed_options(options), load_streamed));
    weight_bytes = engine->model().weight_bytes;
    pass_tokens = std::min(engine->pass_tokens_max(), engine->pass_outputs_max());
    report.memory = engine->memory();
    report.kernels = engine->placement().kernels;
    engine->reset_stats();
    Script script(*engine, options, pass_tokens, false);
    RETURN_IF_ERROR(script.run());
    const EngineStats stats = engine->stats();
    report.bytes_streamed = stats.bytes_read;
    report.major_faults = stats.major_faults;
    report.ungated = stats.ungated;
    streamed = std::move(script.outputs);
  }
  {
    const LoadOptions load = reference_options(options, report.kernels, weight_bytes, false);
    report.reference = mode_name(*load.mode);
    ASSIGN_OR_RETURN(const auto engine, load_for(load, Engine::load));
    Script script(*engine, options, pass_tokens, false);
    RETURN_IF_ERROR(script.run());
    plain = std::move(script.outputs);
  }
  report.outputs_compared = plain.size();
  Fnv1a hash;
  for (const Output& output : streamed) hash.add(&output.hash, sizeof output.hash);
  report.logits_hash = hash.value();
  if (streamed.size() != plain.size()) {
    report.first_difference = fmt::format("{} outputs where plain libllama gives {}", streamed.size(), plain.size());
    return report;
  }
  for (size_t i = 0; i < plain.size(); ++i) {
    if (streamed[i].hash == plain[i].hash) continue;
    ASSIGN_OR_RETURN(report.first_difference, find_first_difference(options, load_streamed, report.kernels,
                                                                    weight_bytes, pass_tokens, plain[i].where));
    return report;
  }
  report.exact = true;
  return report;
}

}  // namespace spillway
