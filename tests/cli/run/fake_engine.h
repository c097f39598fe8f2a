// SPDX-License-Identifier: MIT
// The scripted engine as one conversation sees it: a sequence in plain sight, and answers that are what the test wrote,
// whatever the context holds.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "serving/scripted_engine.h"

namespace spillway {

class FakeEngine : public ScriptedEngine {
 public:
  static constexpr TokenId kStart = 257;

  FakeEngine() {
    pass_max = 512;
    info.n_vocab = 258;
    info.chat_template =
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}";
  }

  // What tests set.
  std::string script;  // the tokens it chooses; '|' is the end token
  bool no_logits = false;

  // What tests look at.
  std::string& context = ScriptedEngine::context[0];  // kEnd as '|', kStart as '^'
  std::vector<size_t> batches;                        // tokens of each decode()
  std::string encoded;

  std::string take_batches() {
    std::string text;
    for (const size_t n : std::exchange(batches, {})) text += (text.empty() ? "" : " ") + std::to_string(n);
    return text;
  }

  Result<void> decode(std::span<const BatchToken> tokens) override {
    auto outcome = ScriptedEngine::decode(tokens);
    batches.push_back(tokens.size());
    stats_.bytes_read += 100;
    return outcome;
  }
  Result<void> encode(std::span<const BatchToken> tokens) override {
    for (const BatchToken& token : tokens) encoded += static_cast<char>(token.id);
    return {};
  }
  // As many as there are tokens; the first tells how much the context holds.
  std::span<const float> logits(int32_t) const override {
    if (no_logits) return {};
    logits_[0] = static_cast<float>(context.size());
    return logits_;
  }
  std::unique_ptr<Sampler> make_sampler(const SamplingOptions&) override {
    return std::make_unique<FakeSampler>(*this);
  }
  TokenId decoder_start_token() const override { return kStart; }

 private:
  char shown(TokenId id) const override { return id == kEnd ? '|' : id == kStart ? '^' : static_cast<char>(id); }

  class FakeSampler : public Sampler {
   public:
    explicit FakeSampler(FakeEngine& engine) : engine_(engine) {}
    Result<TokenId> sample(int32_t) override {
      if (engine_.script.empty()) return kEnd;
      const char c = engine_.script.front();
      engine_.script.erase(0, 1);
      return c == '|' ? kEnd : static_cast<unsigned char>(c);
    }
    void accept(TokenId) override {}

   private:
    FakeEngine& engine_;
  };

  mutable std::vector<float> logits_ = std::vector<float>(258, 0.0f);
};

}  // namespace spillway
