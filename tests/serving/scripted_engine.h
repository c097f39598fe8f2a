// SPDX-License-Identifier: MIT
// An engine of many sequences without a model: every byte is a token, and the next token is a function of what the
// sequence holds, so that a sequence that holds the wrong thing shows in the answer. Its context is in plain sight.
// Where info.window is set it forgets as windowed layers do: what was lost and is looked at all the same fails the
// test.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <fstream>
#include <functional>
#include <map>
#include <sstream>
#include <string>

#include "base/hash.h"
#include "engine/engine.h"

namespace spillway {

class ScriptedEngine : public Engine {
 public:
  static constexpr TokenId kEnd = 256;

  // What tests set.
  ModelInfo info = model_of_bytes();
  size_t pass_max = 256, outputs_max = 256;
  // The answer to a prompt, when set: what stands behind the last "<assistant>" is compared with it.
  std::function<std::string(const std::string& prompt)> answer;
  std::string answer_mark = "<assistant>";                             // behind the last one the answer begins
  std::deque<Status> failures;                                         // of the next decode() calls
  std::function<Result<void>(std::span<const BatchToken>)> on_decode;  // before each; may fail it
  std::function<void()> on_tokenize;                                   // on any thread
  std::map<TokenId, float> logit_bonus;
  std::function<Result<void>(uint32_t n_ctx)> on_resize;  // before; may refuse it
  uint32_t long_above = UINT32_MAX;                       // contexts of more tokens compute other states
  std::atomic<bool> lost = false;                         // check_usable() says so
  std::atomic<bool> moved = false;                        // check_in_place() does

  // What tests look at, between passes.
  std::map<int32_t, std::string> context;  // seq -> bytes
  std::vector<std::vector<BatchToken>> passes;
  bool keep_passes = true;
  std::atomic<uint64_t> n_computed = 0;
  std::vector<std::string> grammars;  // of the samplers that were made
  size_t n_embedding = 4;             // numbers of a vector

  // What a model of each kind cannot do.
  enum class Kind { kDense, kWindowed, kRecurrent, kHybrid };
  void become(Kind kind, uint32_t window = 20) {
    info.window = kind == Kind::kWindowed ? window : 0;
    info.is_recurrent = kind == Kind::kRecurrent || kind == Kind::kHybrid;
    info.keeps_nothing_else = kind == Kind::kRecurrent;
    info.needs_checkpoints = kind != Kind::kDense;
  }

  // The model. '\x1a' ends an answer.
  static char next_char(const std::string& held) {
    Fnv1a hash;
    hash.add(held.data(), held.size());
    const uint64_t value = hash.value() >> 7;
    return value % 41 == 0 ? '\x1a' : static_cast<char>('a' + value % 26);
  }
  static std::string continuation(std::string prompt, size_t n_max) {
    std::string text;
    while (text.size() < n_max) {
      const char c = next_char(prompt + text);
      if (c == '\x1a') break;
      text += c;
    }
    return text;
  }

  Result<void> check_usable() const override {
    if (lost) return error(Code::kUnavailable, "worker lab:50052 closed the connection");
    return {};
  }
  Result<void> check_in_place() const override {
    if (moved) return error(Code::kChanged, "the file was replaced while in use");
    return {};
  }
  const ModelInfo& model() const override { return info; }
  const Placement& placement() const override { return placement_; }
  MemoryReport memory() const override { return {.budget_bytes = 1 << 30, .pinned_bytes = 1 << 20}; }
  DiskReport disk() const override { return {}; }
  EngineStats stats() const override { return stats_; }
  void reset_stats() override { stats_ = {}; }
  Result<double> measure_disk() override { return error(Code::kUnsupported, "no disk"); }

  Result<void> decode(std::span<const BatchToken> tokens) override {
    ++stats_.passes;
    if (keep_passes) passes.emplace_back(tokens.begin(), tokens.end());
    EXPECT_LE(tokens.size(), pass_max);
    outputs_.clear();
    Result<void> outcome{};
    if (on_decode) outcome = on_decode(tokens);
    if (outcome && !failures.empty()) {
      outcome = Failure(failures.front());
      failures.pop_front();
    }
    if (!outcome) {
      std::map<int32_t, int32_t> begin;
      for (const BatchToken& token : tokens) begin.emplace(token.seq, token.pos);
      // A state that was computed with in between is of no use.
      for (const auto& [seq, pos] : begin) cut(seq, info.is_recurrent ? 0 : static_cast<size_t>(pos));
      return outcome;
    }
    for (size_t i = 0; i < tokens.size(); ++i) {
      const BatchToken& token = tokens[i];
      std::string& held = context[token.seq];
      EXPECT_EQ(static_cast<size_t>(token.pos), held.size()) << "positions of sequence " << token.seq;
      const size_t looked_at = info.window > 0 && held.size() + 1 > info.window ? held.size() + 1 - info.window : 0;
      EXPECT_LE(first_[token.seq], looked_at) << "sequence " << token.seq << " lost its window";
      held += shown(token.id);
      EXPECT_LE(held.size(), info.n_ctx);
      if (token.want_logits) outputs_[static_cast<int32_t>(i)] = held;
    }
    EXPECT_LE(outputs_.size(), outputs_max);
    // The cells of a window and a pass are used in a ring.
    for (const BatchToken& token : tokens) {
      const size_t n = context[token.seq].size(), n_cells = info.window + pass_max;
      if (info.window > 0 && n > n_cells) first_[token.seq] = std::max(first_[token.seq], n - n_cells);
    }
    n_computed += tokens.size();
    stats_.tokens += tokens.size();
    return {};
  }
  // Where info.sees_images is set: the file "IMGx" is an image of four positions that show as "xxxx", between brackets.
  mutable std::atomic<int> n_inspected = 0;
  Result<ImagePrompt> inspect_image(const std::shared_ptr<const std::string>& file) const override {
    ++n_inspected;
    if (!info.sees_images) return Engine::inspect_image(std::move(file));
    if (!file->starts_with("IMG") || file->size() != 4) return error(Code::kInvalidArgument, "the data is no image");
    const auto image = std::make_shared<PromptImage>();
    *image = {.place = -1000 - file->back(), .n_positions = 4, .n_tokens = 4, .file = file, .digest = *file};
    return ImagePrompt{.tokens = {'(', image->place, image->place, image->place, image->place, ')'},
                       .images = {{image->place, image}}};
  }
  Result<void> decode_image(const PromptImage& image, int32_t seq, int32_t pos) override {
    std::string& held = context[seq];
    EXPECT_EQ(static_cast<size_t>(pos), held.size());
    held.append(image.n_positions, image.file->back());
    ++n_images;
    return {};
  }
  std::atomic<int> n_images = 0;  // computed

  Result<void> encode(std::span<const BatchToken>) override { return error(Code::kUnsupported, "no encoder"); }
  void abort() override { ++aborts; }
  std::atomic<int> aborts = 0;

  std::span<const float> logits(int32_t i) const override {
    logits_.assign(257, 0.0f);
    logits_[static_cast<size_t>(choose(i))] = 5.0f;
    for (const auto& [id, bonus] : logit_bonus) logits_[static_cast<size_t>(id)] += bonus;
    return logits_;
  }
  std::span<const float> embeddings(int32_t) const override { return {}; }
  size_t pass_tokens_max() const override { return pass_max; }
  size_t pass_outputs_max() const override { return outputs_max; }
  HeldTokens held(int32_t seq) const override {
    const auto found = context.find(seq);
    if (found == context.end() || found->second.empty()) return {};
    const auto first = first_.find(seq);
    const size_t n = found->second.size();
    return {.n = n,
            .first = info.is_recurrent       ? n - 1
                     : first == first_.end() ? 0
                                             : first->second,
            .window = info.window,
            .whole_only = info.is_recurrent};
  }
  size_t cut(int32_t seq, size_t n_tokens) override {
    const size_t n = held(seq).cut_to(n_tokens);
    context[seq].resize(n);
    if (n == 0) first_[seq] = 0;
    return n;
  }
  // A checkpoint is a window, or, as a recurrent state, something of all tokens; with how many they are.
  size_t state_bytes(int32_t seq, StatePart part) override { return save_state(seq, part).size(); }
  std::string save_state(int32_t seq, StatePart part) override {
    const std::string& text = context[seq];
    if (part == StatePart::kWhole || info.is_recurrent) return text;
    return text.substr(text.size() - std::min<size_t>(text.size(), info.window));
  }
  Result<void> save_state_file(int32_t seq, const std::string& path, std::span<const TokenId>) override {
    std::ofstream out(path, std::ios::binary);
    out << context[seq];
    if (!out.flush()) return error(Code::kIo, path + ": cannot be written");
    return {};
  }
  Result<void> restore_state(int32_t seq, std::string_view state, StatePart part, size_t n_tokens) override {
    std::string& text = context[seq];
    if (part == StatePart::kWhole || info.keeps_nothing_else) {
      text = state;
      EXPECT_EQ(text.size(), n_tokens);
    } else {
      EXPECT_GE(text.size(), n_tokens) << "a checkpoint without what it stands on";
      text.resize(n_tokens);
      EXPECT_TRUE(text.ends_with(state)) << "a checkpoint of another sequence";
    }
    first_[seq] = HeldTokens::restored(n_tokens, info.window, info.is_recurrent).first;
    return {};
  }
  Result<void> restore_state_file(int32_t seq, const std::string& path, size_t n_tokens) override {
    std::ifstream in(path, std::ios::binary);
    std::stringstream text;
    text << in.rdbuf();
    if (text.str().size() != n_tokens) return error(Code::kCorrupt, path + ": damaged");
    return restore_state(seq, text.str(), StatePart::kWhole, n_tokens);
  }
  Result<std::vector<float>> embed(std::span<const TokenId> tokens) override {
    if (tokens.size() > info.n_ctx) return error(Code::kContextOverflow, "the input length exceeds the context length");
    if (info.n_scores > 0) return std::vector<float>(info.n_scores, score_of(tokens));
    std::vector<float> vector(n_embedding);
    vector[0] = 3.0f;
    vector[1] = 4.0f * static_cast<float>(tokens.size() > 0);
    return vector;
  }
  Result<void> resize_context(uint32_t n_ctx) override {
    if (on_resize) RETURN_IF_ERROR(on_resize(n_ctx));
    info.n_ctx = n_ctx;
    info.context_key = n_ctx > long_above ? "long" : "";
    context.clear();
    first_.clear();
    return {};
  }
  std::unique_ptr<Sampler> make_sampler(const SamplingOptions& options) override {
    grammars.push_back(options.grammar != nullptr ? options.grammar->text() : "");
    return std::make_unique<ScriptedSampler>(*this, grammars.back() == "root ::= \"impossible\"");
  }
  Result<std::vector<TokenId>> tokenize(const std::string& text, bool, bool) const override {
    if (on_tokenize) on_tokenize();
    std::vector<TokenId> ids;
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  std::string token_text(TokenId id, bool) const override {
    return id < 256 ? std::string(1, static_cast<char>(id)) : "";
  }
  bool ends_generation(TokenId id) const override { return id == kEnd; }
  Result<std::vector<TokenId>> infill_tokens(const std::string& prefix, const std::string& suffix) const override {
    return tokenize("<pre>" + prefix + "<suf>" + suffix + "<mid>", false, false);
  }
  Result<std::vector<TokenId>> pair_tokens(const std::string& query, const std::string& text) const override {
    return tokenize(query + "|" + text, false, false);
  }
  TokenId decoder_start_token() const override { return 0; }
  void set_node_observer(NodeObserver) override {}

 protected:
  // How often the text behind '|' has what stands before it.
  static float score_of(std::span<const TokenId> tokens) {
    std::string pair;
    for (const TokenId id : tokens) pair += static_cast<char>(id);
    const std::string query = pair.substr(0, pair.find('|'));
    float count = 0;
    for (size_t at = pair.find(query, query.size()); at != std::string::npos; at = pair.find(query, at + 1)) ++count;
    return count;
  }

  // How a token is kept in `context`.
  virtual char shown(TokenId id) const { return static_cast<char>(id); }

  EngineStats stats_;

 private:
  static ModelInfo model_of_bytes() {
    ModelInfo info;
    info.n_ctx = 1000;
    info.n_ctx_train = 4096;
    info.n_ubatch = 256;
    info.n_vocab = 257;
    info.n_embd = 4;
    info.architecture = "bytes";
    info.chat_template =
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}";
    info.state_key = "scripted";
    info.has_tokenizer = true;
    return info;
  }

  TokenId choose(int32_t i) const {
    const std::string& held = i < 0 ? outputs_.rbegin()->second : outputs_.at(i);
    if (answer) {
      const size_t mark = held.rfind(answer_mark);
      const size_t prompt_bytes = mark == std::string::npos ? held.size() : mark + answer_mark.size();
      const std::string text = answer(held.substr(0, prompt_bytes));
      const size_t n_said = held.size() - prompt_bytes;
      return n_said < text.size() ? static_cast<unsigned char>(text[n_said]) : kEnd;
    }
    const char c = next_char(held);
    return c == '\x1a' ? kEnd : static_cast<unsigned char>(c);
  }

  class ScriptedSampler : public Sampler {
   public:
    ScriptedSampler(ScriptedEngine& engine, bool fails) : engine_(engine), fails_(fails) {}
    Result<TokenId> sample(int32_t i) override {
      if (fails_) return error(Code::kInvalidArgument, "the grammar admits no token");
      return engine_.choose(i);
    }
    void accept(TokenId) override {}

   private:
    ScriptedEngine& engine_;
    const bool fails_;
  };

  Placement placement_;
  std::map<int32_t, size_t> first_;         // HeldTokens::first, of windowed models
  std::map<int32_t, std::string> outputs_;  // what the sequence held at each output of the last pass
  mutable std::vector<float> logits_;
};

}  // namespace spillway
