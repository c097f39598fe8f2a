// SPDX-License-Identifier: MIT
// An engine without a model: every byte is a token, and answers are what the test scripted. What its context holds is
// in plain sight.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <string>

#include "engine/engine.h"

namespace spillway {

class FakeEngine : public Engine {
 public:
  static constexpr TokenId kEnd = 256;
  static constexpr TokenId kStart = 257;

  // What tests set.
  ModelInfo info = model_of_bytes();
  std::string script;               // the tokens it chooses; '|' is the end token
  std::deque<Status> failures;      // of the next decode() calls
  std::function<void()> on_decode;  // before each
  bool template_trims = false;
  bool no_logits = false;

  // What tests look at.
  std::string context;          // kEnd as '|', kStart as '^'
  std::vector<size_t> batches;  // tokens of each decode()
  std::string encoded;

  std::string take_batches() {
    std::string text;
    for (const size_t n : std::exchange(batches, {})) text += (text.empty() ? "" : " ") + std::to_string(n);
    return text;
  }

  const ModelInfo& model() const override { return info; }
  const Placement& placement() const override { return placement_; }
  MemoryReport memory() const override { return {}; }
  DiskReport disk() const override { return {}; }
  EngineStats stats() const override { return stats_; }
  void reset_stats() override { stats_ = {}; }
  Result<double> measure_disk() override { return error(Code::kUnsupported, "no disk"); }

  Result<void> decode(std::span<const BatchToken> tokens) override {
    if (on_decode) on_decode();
    batches.push_back(tokens.size());
    ++stats_.passes;
    stats_.bytes_read += 100;
    if (!failures.empty()) {
      const Status failure = failures.front();
      failures.pop_front();
      return tl::unexpected<Status>(failure);
    }
    for (const BatchToken& token : tokens) {
      EXPECT_EQ(static_cast<size_t>(token.pos), context.size()) << "positions follow each other";
      context += token.id == kEnd ? '|' : token.id == kStart ? '^' : static_cast<char>(token.id);
    }
    EXPECT_LE(context.size(), info.n_ctx);
    return {};
  }
  Result<void> encode(std::span<const BatchToken> tokens) override {
    for (const BatchToken& token : tokens) encoded += static_cast<char>(token.id);
    return {};
  }
  void abort() override {}
  std::span<const float> logits(int32_t) const override {
    if (no_logits) return {};
    logits_[0] = static_cast<float>(context.size());
    return logits_;
  }
  std::span<const float> embeddings(int32_t) const override { return {}; }
  size_t pass_tokens_max() const override { return 512; }
  void copy_sequence(int32_t, int32_t) override {}
  bool shift_sequence(int32_t, int32_t, int32_t) override { return false; }
  size_t sequence_bytes(int32_t) override { return context.size(); }
  std::string save_sequence(int32_t) override { return context; }
  Result<void> save_sequence_file(int32_t, const std::string&, std::span<const TokenId>) override {
    return error(Code::kUnsupported, "no files");
  }
  Result<void> restore_sequence(int32_t, std::string_view state) override {
    context = state;
    return {};
  }
  Result<void> restore_sequence_file(int32_t, const std::string&, size_t) override {
    return error(Code::kUnsupported, "no files");
  }
  Result<std::vector<float>> embed(std::span<const TokenId>) override {
    return error(Code::kUnsupported, "no embeddings");
  }
  Result<void> resize_context(uint32_t n_ctx) override {
    info.n_ctx = n_ctx;
    return {};
  }
  Result<std::vector<TokenId>> infill_tokens(const std::string&, const std::string&) const override {
    return error(Code::kUnsupported, "no infill");
  }
  bool forget(int32_t, int32_t from) override {
    if (!info.can_trim && from > 0) return false;
    context.resize(std::min(context.size(), static_cast<size_t>(from)));
    return true;
  }

  std::unique_ptr<Sampler> make_sampler(const SamplingOptions&) override {
    return std::make_unique<FakeSampler>(*this);
  }
  Result<std::vector<TokenId>> tokenize(const std::string& text, bool, bool) const override {
    std::vector<TokenId> ids;
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  std::string token_text(TokenId id, bool) const override {
    return id < 256 ? std::string(1, static_cast<char>(id)) : "";
  }
  bool ends_generation(TokenId id) const override { return id == kEnd; }
  TokenId decoder_start_token() const override { return kStart; }

  // "<user>hi</>", and "<assistant>" for the answer to come.
  Result<std::string> apply_chat_template(const std::vector<ChatMessage>& messages, bool add_assistant) const override {
    std::string text;
    for (const ChatMessage& message : messages) text += "<" + message.role + ">" + content_of(message) + "</>";
    return text + (add_assistant ? "<assistant>" : "");
  }
  void set_node_observer(NodeObserver) override {}

 private:
  static ModelInfo model_of_bytes() {
    ModelInfo info;
    info.n_ctx = 1000;
    info.n_vocab = 258;
    info.has_tokenizer = true;
    return info;
  }

  class FakeSampler : public Sampler {
   public:
    explicit FakeSampler(FakeEngine& engine) : engine_(engine) {}
    TokenId sample(int32_t) override {
      if (engine_.script.empty()) return kEnd;
      const char c = engine_.script.front();
      engine_.script.erase(0, 1);
      return c == '|' ? kEnd : static_cast<unsigned char>(c);
    }
    void accept(TokenId) override {}

   private:
    FakeEngine& engine_;
  };

  std::string content_of(const ChatMessage& message) const {
    const size_t begin = template_trims ? message.content.find_first_not_of(' ') : 0;
    if (begin == std::string::npos) return "";
    const size_t end = template_trims ? message.content.find_last_not_of(' ') + 1 : message.content.size();
    return message.content.substr(begin, end - begin);
  }

  Placement placement_;
  EngineStats stats_;
  mutable std::vector<float> logits_ = std::vector<float>(258, 0.0f);
};

}  // namespace spillway
