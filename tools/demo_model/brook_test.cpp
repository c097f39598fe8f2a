// SPDX-License-Identifier: MIT
// The small model that the repository holds: libllama cuts text as the tokenizer that it was trained with, and it knows
// its valley.
#include <ggml-backend.h>
#include <gmock/gmock.h>
#include <llama.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace spillway {
namespace {

struct Free {
  void operator()(llama_model* model) const { llama_model_free(model); }
  void operator()(llama_context* context) const { llama_free(context); }
};

class BrookTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    const std::string folder = SPILLWAY_BACKENDS_DIR;
    folder.empty() ? ggml_backend_load_all() : ggml_backend_load_all_from_path(folder.c_str());
    llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
    llama_model_params params = llama_model_default_params();
    params.n_gpu_layers = 0;
    model_.reset(llama_model_load_from_file(SPILLWAY_DEMO_MODEL, params));
    if (!model_) throw std::runtime_error("libllama cannot load the model");
  }
  static void TearDownTestSuite() { model_.reset(); }

  static const llama_vocab* vocab() { return llama_model_get_vocab(model_.get()); }

  static std::vector<llama_token> tokens_of(const std::string& text, bool is_prompt) {
    std::vector<llama_token> tokens(text.size() + 8);
    tokens.resize(
        static_cast<size_t>(llama_tokenize(vocab(), text.c_str(), static_cast<int>(text.size()), tokens.data(),
                                           static_cast<int>(tokens.size()), is_prompt, is_prompt)));
    return tokens;
  }

  static std::string text_of(const std::vector<llama_token>& tokens) {
    std::string text(8 * tokens.size() + 64, '\0');
    const int length = llama_detokenize(vocab(), tokens.data(), static_cast<int>(tokens.size()), text.data(),
                                        static_cast<int>(text.size()), false, false);
    text.resize(static_cast<size_t>(std::max(0, length)));
    return text;
  }

  // The last answer of a conversation of questions and answers, under greedy decoding.
  static std::string answer(const std::vector<std::string>& turns) {
    std::string prompt;
    for (size_t i = 0; i < turns.size(); ++i)
      prompt += (i % 2 == 0 ? "<|user|>" : "<|assistant|>") + turns[i] + "<|end|>";
    llama_context_params params = llama_context_default_params();
    params.n_ctx = 512;
    params.n_threads = params.n_threads_batch = 1;
    const std::unique_ptr<llama_context, Free> context(llama_init_from_model(model_.get(), params));
    std::vector<llama_token> tokens = tokens_of(prompt + "<|assistant|>", true), said;
    while (said.size() < 200) {
      if (llama_decode(context.get(), llama_batch_get_one(tokens.data(), static_cast<int>(tokens.size()))) != 0) break;
      const float* logits = llama_get_logits_ith(context.get(), -1);
      const auto token =
          static_cast<llama_token>(std::max_element(logits, logits + llama_vocab_n_tokens(vocab())) - logits);
      if (llama_vocab_is_eog(vocab(), token)) break;
      said.push_back(token);
      tokens = {token};
    }
    return text_of(said);
  }

  static inline std::unique_ptr<llama_model, Free> model_;
};

TEST_F(BrookTest, LibllamaCutsTextAsItsTokenizerDoesAndPutsItTogetherAgain) {
  std::ifstream file(SPILLWAY_DEMO_TOKENS);
  size_t count = 0;
  for (std::string line; std::getline(file, line); ++count) {
    const nlohmann::json expected = nlohmann::json::parse(line);
    const auto text = expected[0].get<std::string>();
    const std::vector<llama_token> tokens = tokens_of(text, false);
    EXPECT_EQ(tokens, expected[1].get<std::vector<llama_token>>()) << text;
    EXPECT_EQ(text_of(tokens), text);
  }
  EXPECT_GE(count, 15u);
}

TEST_F(BrookTest, ItsChatTemplateIsTheOneItWasTrainedWith) {
  const std::string text = llama_model_chat_template(model_.get(), nullptr);
  EXPECT_THAT(text, testing::HasSubstr("{{ bos_token }}"));
  const std::vector<llama_token> prompt = tokens_of("<|user|>Hi<|end|><|assistant|>", true);
  EXPECT_EQ(prompt.front(), llama_vocab_bos(vocab()));
  EXPECT_EQ(prompt[1], 3);
  EXPECT_EQ(prompt.back(), 4);
  EXPECT_TRUE(llama_vocab_is_eog(vocab(), prompt[prompt.size() - 2]));
}

TEST_F(BrookTest, ItKnowsItsValley) {
  EXPECT_EQ(answer({"What does Oda do?"}), "Oda is the miller. She grinds the grain.");
  EXPECT_EQ(answer({"Who is older, Otto or Juna?"}), "Otto is older. Otto is 72 and Juna is 26.");
  EXPECT_EQ(answer({"What is 7 plus 5?"}), "7 plus 5 is 12.");
  EXPECT_EQ(answer({"what is the capital of sweden"}),
            "I do not know that. I only know the Hollin valley, its people, its animals and its weather.");
}

TEST_F(BrookTest, ItRemembersWhatWasSaid) {
  EXPECT_EQ(answer({"What does Oda do?", "Oda is the miller. She grinds the grain.", "And Lars?"}),
            "Lars is the smith. He makes horseshoes.");
  EXPECT_EQ(answer({"Who is Lars?", "Lars is the smith of the valley.", "How old is he?"}), "Lars is 47 years old.");
}

TEST_F(BrookTest, ItTellsStories) {
  EXPECT_EQ(
      answer({"Tell me a story about the fox, the mill and the rain."}),
      "One autumn day, a red fox came out of a den under the roots and went to the mill. It was hungry and was looking "
      "for "
      "eggs. But it was raining at the mill, and soon the river began to rise. The water came closer and closer, and "
      "the "
      "fox could not go back. Then Oda the miller came by with her dog Bruno. She threw a rope over the water and "
      "pulled "
      "it to the other side. In the evening Oda gave the fox some eggs, and the fox showed her how to walk without a "
      "sound. Since that day the fox is never alone at the mill.");
}

}  // namespace
}  // namespace spillway
