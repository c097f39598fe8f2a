// SPDX-License-Identifier: MIT
// The tokens that a grammar admits, beside those that libllama's own sampler admits, for a real vocabulary of 262,144
// tokens: the same ones, but for what libllama lets through that is no UTF-8.
#include <gmock/gmock.h>
#include <llama.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <random>

#include "grammar/grammar_text.h"
#include "grammar/token_grammar.h"

namespace spillway {
namespace {

class GrammarAgainstLlamaTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (!std::filesystem::exists(SPILLWAY_REAL_MODEL)) return;
    llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
    llama_model_params params = llama_model_default_params();
    params.vocab_only = true;
    model_ = llama_model_load_from_file(SPILLWAY_REAL_MODEL, params);
    vocab_ = llama_model_get_vocab(model_);
    std::vector<std::string> texts;
    for (llama_token id = 0; id < llama_vocab_n_tokens(vocab_); ++id) {
      std::string text(512, '\0');
      const int32_t n = llama_token_to_piece(vocab_, id, text.data(), 512, 0, true);
      text.resize(static_cast<size_t>(std::max(n, 0)));
      texts.push_back(std::move(text));
    }
    texts_ = std::make_shared<const TokenTexts>(std::move(texts));
  }
  static void TearDownTestSuite() { llama_model_free(model_); }
  void SetUp() override {
    if (model_ == nullptr) GTEST_SKIP() << "no model: scripts/setup --tests brings it";
  }

  // Or the rest of a character.
  static bool is_beginning_of_utf8(std::string_view text) {
    while (!text.empty() && (static_cast<unsigned char>(text[0]) & 0xC0u) == 0x80u) text.remove_prefix(1);
    Utf8Decoder decoder;
    return std::all_of(text.begin(), text.end(), [&](char c) {
      return decoder.take(static_cast<unsigned char>(c)) != Utf8Decoder::Took::kInvalid;
    });
  }

  static std::vector<bool> admitted_by(llama_sampler* sampler) {
    std::vector<llama_token_data> all;
    for (llama_token id = 0; id < llama_vocab_n_tokens(vocab_); ++id) all.push_back({id, 1.0f, 0.0f});
    llama_token_data_array array{all.data(), all.size(), -1, false};
    llama_sampler_apply(sampler, &array);
    std::vector<bool> admitted(all.size());
    for (const llama_token_data& one : all) admitted[static_cast<size_t>(one.id)] = !std::isinf(one.logit);
    return admitted;
  }

  // Follows a random way through the grammar, both at once.
  static void walk(const char* text, uint32_t seed, int steps) {
    SCOPED_TRACE(text);
    std::mt19937 random(seed);
    llama_sampler* const theirs = llama_sampler_init_grammar(vocab_, text, "root");
    ASSERT_NE(theirs, nullptr);
    TokenGrammar ours(grammar_of(text), texts_);
    for (int step = 0; step < steps; ++step) {
      const std::vector<bool> expected = admitted_by(theirs);
      const auto got = ours.admitted();
      ASSERT_TRUE(got) << got.error().message();
      const auto may_end = ours.may_end();
      std::vector<llama_token> choices;
      size_t n_differ = 0;
      for (llama_token id = 0; id < llama_vocab_n_tokens(vocab_); ++id) {
        const bool ends = llama_vocab_is_eog(vocab_, id);
        if (!is_beginning_of_utf8(texts_->text(id))) continue;
        const bool mine = ends ? *may_end : bool((**got)[static_cast<size_t>(id)]);
        if (mine != expected[static_cast<size_t>(id)] && n_differ++ < 5)
          ADD_FAILURE() << "step " << step << ", token " << id << ": " << texts_->text(id)
                        << (mine ? " admitted" : " refused");
        if (mine && !ends) choices.push_back(id);
      }
      if (n_differ > 0 || choices.empty()) break;
      const llama_token next = choices[random() % choices.size()];
      ASSERT_TRUE(ours.accept(next));
      llama_sampler_accept(theirs, next);
    }
    llama_sampler_free(theirs);
  }

  static llama_model* model_;
  static const llama_vocab* vocab_;
  static std::shared_ptr<const TokenTexts> texts_;
};
llama_model* GrammarAgainstLlamaTest::model_ = nullptr;
const llama_vocab* GrammarAgainstLlamaTest::vocab_ = nullptr;
std::shared_ptr<const TokenTexts> GrammarAgainstLlamaTest::texts_;

TEST_F(GrammarAgainstLlamaTest, TheSameTokensAreAdmitted) {
  for (uint32_t seed = 0; seed < 2; ++seed) {
    walk(R"(root ::= "yes" | "no" | "né" | "maybe " [a-z]+)", seed, 6);
    walk(
        "root ::= object\nvalue ::= object | array | string | number\nobject ::= \"{\" (pair (\", \" pair)*)? \"}\"\n"
        "pair ::= string \": \" value\narray ::= \"[\" (value (\", \" value)*)? \"]\"\nnumber ::= [0-9]+\n"
        "string ::= \"\\\"\" ([^\"\\\\\\x00-\\x1F] | \"\\\\\" [\"\\\\nt])* \"\\\"\"\n",
        seed, 8);
    walk(R"(root ::= [^\x00-\x7F]{3} ([я-€] | "日本")* "🤖"+)", seed, 6);
    walk("root ::= (\"a\" | \"b\"? \"c\" | word){2,5} \".\"\nword ::= [d-z]+ \" \"?", seed, 6);
  }
}

}  // namespace
}  // namespace spillway
